//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/go-grace/grace/internal/test/managertest"
)

// The count continues from room to room. A process does not end before the previous one, which may
// transfer clients until then.
func TestProcessBetweenTwoOthers(t *testing.T) {
	m := managertest.New(t)
	before, previous := pipe(t)
	next, after := pipe(t)
	s := &server{m: m, room: newRoom(), relay: relay{before: before, after: after}}
	m.Go(s.host)
	if err := binary.Write(previous, binary.BigEndian, uint64(41)); err != nil {
		t.Fatal(err)
	}
	s.room.enter()
	s.room.say("anna", nil)

	stopped := make(chan error, 1)
	go func() { stopped <- m.Shutdown(context.Background()) }() // ends with s.host
	var last uint64
	if err := binary.Read(next, binary.BigEndian, &last); err != nil || last != 42 {
		t.Errorf("the next process is told %d, %v", last, err)
	}
	expectCode(t, s, `{"Nick": "otto", "Last": 41}`, ws.StatusGoingAway)
	expectCode(t, s, `{"Nick": 7}`, ws.StatusInternalServerError)
	select {
	case err := <-stopped:
		t.Fatalf("the process has ended: %v", err)
	case <-time.After(100 * time.Millisecond): // without the wait, it would have ended
	}
	previous.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// expectCode transfers a client from the previous process, and expects it to be sent away with the
// status want.
func expectCode(t *testing.T, s *server, state string, want ws.StatusCode) {
	t.Helper()
	conn, remote := net.Pipe()
	go s.take(conn, []byte(state)) // ends with the connection
	defer remote.Close()
	for {
		f, err := ws.ReadFrame(remote)
		if err != nil {
			t.Fatal(err)
		}
		if f.Header.OpCode == ws.OpClose {
			if code, _ := ws.ParseCloseFrameData(f.Payload); code != want {
				t.Errorf("%s is told %d, want %d", state, code, want)
			}
			return
		}
	}
}
