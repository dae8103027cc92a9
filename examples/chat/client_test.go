//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
)

// guest is a client in a room, and the other end of its connection.
type guest struct {
	client
	remote net.Conn
	left   chan error    // the result of stay
	heard  chan []string // messages, and the payloads of pongs
}

// enter lets a client stay in a room. An attentive client reads its messages.
func enter(r *room, s state, attentive bool) *guest {
	conn, remote := net.Pipe()
	g := &guest{
		client: client{conn: conn, state: s}, remote: remote,
		left: make(chan error, 1), heard: make(chan []string, 1),
	}
	go func() { // ends with the room, or an error
		err := g.stay(r)
		g.left <- errors.Join(err, conn.Close())
	}()
	if attentive {
		go func() { g.heard <- hear(remote) }() // ends with the connection
	}
	return g
}

func hear(c net.Conn) (heard []string) {
	for {
		f, err := ws.ReadFrame(c)
		if err != nil {
			return heard
		}
		heard = append(heard, string(f.Payload))
	}
}

// A client that reads nothing is dropped, and nobody waits for it.
func TestClientThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom()
		silent, attentive := enter(r, state{}, false), enter(r, state{}, true)
		r.open(0)
		r.say("anna", []byte("hello"))
		if err := <-silent.left; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the silent client is dropped with %v", err)
		}
		r.say("anna", []byte("bye"))
		r.close()
		if heard := <-attentive.heard; len(heard) != 2 || <-attentive.left != nil {
			t.Errorf("the other one heard %q", heard)
		}
	})
}

// A room keeps a bounded number of messages. A client that has missed more is dropped.
func TestClientThatIsFarBehind(t *testing.T) {
	r := newRoom()
	r.open(10)
	for range 2 * maxBehind {
		r.say("anna", nil)
	}
	if len(r.frames) != maxBehind {
		t.Fatalf("%d messages are kept", len(r.frames))
	}
	err := <-enter(r, state{Last: 10 + maxBehind - 1}, true).left
	if !errors.Is(err, closing(ws.StatusPolicyViolation)) {
		t.Errorf("got %v", err)
	}
	g := enter(r, state{Last: 10 + maxBehind}, true)
	r.close()
	if heard := <-g.heard; len(heard) != maxBehind || <-g.left != nil {
		t.Errorf("%d messages are heard", len(heard))
	}
}

// Wherever the room closes in what a client sends, the client continues there in the next one. It
// hears everything in both rooms, even if it is late.
func TestClientContinuesInTheNextRoom(t *testing.T) {
	sent := slices.Concat(
		frame(ws.OpText, false, ""), frame(ws.OpContinuation, false, "one"),
		frame(ws.OpPing, true, "ping"), frame(ws.OpContinuation, true, " two"),
		frame(ws.OpText, true, "three"),
	)
	for cut := range len(sent) + 1 {
		synctest.Test(t, func(t *testing.T) {
			first, second := newRoom(), newRoom()
			first.open(7)
			heard, s := visit(t, first, state{Nick: "otto", Last: 7}, sent[:cut])
			second.open(first.last)
			second.say("anna", []byte("is there already"))
			more, s := visit(t, second, travel(t, s), sent[cut:])
			checkVisits(t, cut, append(heard, more...))
			if s.Last != second.last || len(s.Unread) > 0 || s.Text != nil {
				t.Errorf("cut at %d: %+v is left", cut, s)
			}
		})
	}
}

// visit lets a client send something in a room that then closes. It returns what the client heard,
// and its final state.
func visit(t *testing.T, r *room, s state, sent []byte) ([]string, state) {
	t.Helper()
	g := enter(r, s, true)
	if _, err := g.remote.Write(sent); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	r.say("anna", []byte("closes the room"))
	r.close()
	if err := <-g.left; err != nil {
		t.Error(err)
	}
	return <-g.heard, g.state
}

// checkVisits expects the messages in order, and one pong.
func checkVisits(t *testing.T, cut int, heard []string) {
	t.Helper()
	messages := slices.DeleteFunc(slices.Clone(heard), func(s string) bool { return s == "ping" })
	said := make([]string, len(messages))
	for i, m := range messages {
		if numberOf(m) != 8+i {
			t.Errorf("cut at %d: message %d comes as %q", cut, 8+i, m)
		}
		_, said[i], _ = strings.Cut(m, " ")
	}
	slices.Sort(said)
	want := []string{
		"anna: closes the room", "anna: closes the room", "anna: is there already",
		"otto: one two", "otto: three",
	}
	if !slices.Equal(said, want) || len(heard) != len(want)+1 {
		t.Errorf("cut at %d: heard %q", cut, heard)
	}
}

// travel encodes and decodes a state, as a transfer does.
func travel(t *testing.T, s state) (there state) {
	t.Helper()
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &there)
	}
	if err != nil {
		t.Error(err)
	}
	return there
}

// For any input, parse finds a whole frame or none, and does not change the input.
func FuzzParse(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(frame(ws.OpText, true, "hello"), false)
	f.Add(frame(ws.OpContinuation, true, "hello"), true)
	f.Add(frame(ws.OpPing, true, "")[:3], false)
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, false)
	f.Fuzz(func(t *testing.T, unread []byte, fragmented bool) {
		c := &client{state: state{Unread: slices.Clone(unread)}}
		if fragmented {
			c.Text = []byte{}
		}
		_, size, err := c.parse()
		if !bytes.Equal(c.Unread, unread) {
			t.Error("the bytes have changed")
		}
		if errors.Is(err, io.ErrUnexpectedEOF) && len(unread) >= ws.MaxHeaderSize+maxText {
			t.Error("a frame may be too long")
		}
		if err != nil {
			return
		}
		c.Unread = c.Unread[:size-1] // panics if the size is wrong
		if _, _, err := c.parse(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("without its last byte: %v", err)
		}
	})
}
