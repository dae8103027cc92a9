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

// What goes from one process to the next.
const (
	clientName = "chat client" // a connection, with a state
	relayName  = "chat relay"  // a pipe
)

// statusServiceRestart has been registered since RFC 6455, and has no name in package ws.
const statusServiceRestart ws.StatusCode = 1012

// relay are the pipes by which a room tells the next one the number of its last message. They stay open until the process ends, which
// the next one sees by them.
type relay struct {
	before      io.Reader // from the previous process; empty in the first one
	next, after *os.File  // for the next process, and our end
}

// newServer goes on with what the previous process has, once that gives it.
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
	r.before, err = m.Inherited(relayName)
	if errors.Is(err, grace.ErrNotInherited) {
		r.before, err = strings.NewReader(""), nil
	}
	if err != nil {
		return r, err
	}
	if r.next, r.after, err = os.Pipe(); err != nil {
		return r, err
	}
	return r, m.Pass(relayName, r.next)
}

// host opens the room when that of the previous process is closed, so that there is one conversation at a time, and closes it when this
// process is to serve no more.
func (s *server) host() error {
	var last uint64
	if err := binary.Read(s.before, binary.BigEndian, &last); err != nil && !errors.Is(err, io.EOF) {
		return err // but at the end of the pipe there is nobody to count on for: the process has died, or this is the first one
	}
	s.room.open(last)
	<-s.m.Done()
	err := binary.Write(s.after, binary.BigEndian, s.room.close())
	_, _ = io.Copy(io.Discard, s.before) // until the previous process has ended, clients may come from there, and have to go on
	return err
}

// handOver gives a client to the next process. Its connection is not used while it does, and can be used again if it fails.
func (s *server) handOver(c *client) error {
	if errors.Is(s.m.Cause(), grace.ErrShutdown) {
		return closing(ws.StatusGoingAway)
	}
	data, err := json.Marshal(c.state)
	if err == nil {
		conn, _ := c.conn.(syscall.Conn) // without a descriptor, as with TLS, Transfer has an error
		err = s.m.Transfer(context.Background(), clientName, conn, data)
	}
	if err != nil {
		slog.Warn("a client has to come again", "reason", err)
		return closing(statusServiceRestart)
	}
	return nil
}

// take goes on with a client of the previous process.
func (s *server) take(conn net.Conn, data []byte) {
	c := &client{conn: conn}
	if err := json.Unmarshal(data, &c.state); err != nil {
		slog.Error("a client of another version has come", "reason", err)
		defer conn.Close() //nolint:errcheck // all that was to be said was said
		c.bye(closing(ws.StatusInternalServerError))
		return
	}
	s.serve(c)
}
