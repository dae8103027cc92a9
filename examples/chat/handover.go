package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/gobwas/ws"

	"github.com/go-grace/grace"
)

// What one process hands to the next.
const (
	clientName = "chat client" // a connection, with the state of its client
	relayName  = "chat relay"  // a pipe
)

// statusServiceRestart was registered after RFC 6455, and has no name in package ws.
const statusServiceRestart ws.StatusCode = 1012

// relay is the pipes through which a room tells the next one the number of its last message. They
// stay open until the process ends, so the next process notices its end.
type relay struct {
	before      io.Reader // from the previous process; empty in the first one
	next, after *os.File  // the end of the next process, and ours
}

// newServer returns a server that continues the room of the previous process.
func newServer(m *grace.Manager) (*server, error) {
	r, err := newRelay(m)
	if err != nil {
		return nil, err
	}
	s := &server{m: m, room: newRoom(), relay: r}
	if _, err := m.HandleTransfers(clientName, s.take); err != nil {
		return nil, err
	}
	m.Go(s.host)
	return s, nil
}

func newRelay(m *grace.Manager) (r relay, err error) {
	r.before, err = m.InheritedFile(relayName)
	if errors.Is(err, grace.ErrNotInherited) {
		r.before, err = strings.NewReader(""), nil
	}
	if err != nil {
		return r, err
	}
	if r.next, r.after, err = os.Pipe(); err != nil {
		return r, err
	}
	return r, m.PassFile(relayName, r.next)
}

// host opens the room when that of the previous process is closed, so there is one conversation at
// a time. It closes the room when this process stops serving.
func (s *server) host() error {
	var last uint64
	err := binary.Read(s.before, binary.BigEndian, &last)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the previous process died, or there was none
		return err
	}
	s.room.open(last)
	<-s.m.Done()
	err = binary.Write(s.after, binary.BigEndian, s.room.close())
	// Until the previous process has ended, it may transfer clients, which must be passed on.
	_, _ = io.Copy(io.Discard, s.before)
	return err
}

// handOver transfers a client to the next process. Nothing else may use its connection meanwhile.
// If handOver fails, the connection can be used again.
func (s *server) handOver(c *client) error {
	if errors.Is(s.m.Cause(), grace.ErrShutdown) {
		return closing(ws.StatusGoingAway)
	}
	data, err := json.Marshal(c.state)
	if err == nil {
		conn, _ := c.conn.(syscall.Conn) // Transfer fails without a descriptor, as with TLS
		err = s.m.Transfer(context.Background(), clientName, conn, data)
	}
	if err != nil {
		slog.Warn("client has to reconnect", "reason", err)
		return closing(statusServiceRestart)
	}
	return nil
}

// take continues with a client of the previous process.
func (s *server) take(conn net.Conn, data []byte) {
	c := &client{conn: conn}
	if err := json.Unmarshal(data, &c.state); err != nil {
		slog.Error("client of another version", "reason", err)
		defer conn.Close() //nolint:errcheck // everything has been sent
		c.bye(closing(ws.StatusInternalServerError))
		return
	}
	s.serve(c)
}
