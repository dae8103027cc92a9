package main

import (
	_ "embed"
	"errors"
	"net/http"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/go-grace/grace"
)

const maxNick = 32 // bytes

//go:embed page.html
var page []byte

// server lets clients into the room, and transfers them to the next process.
type server struct {
	m    *grace.Manager
	room *room
	relay
}

// page serves the chat to a browser.
func (s *server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page) // a client that is gone does not need it
}

// connect turns a request into a WebSocket.
func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	nick := r.URL.Query().Get("nick")
	if nick == "" || len(nick) > maxNick || !utf8.ValidString(nick) {
		http.Error(w, "the parameter nick must have 1 to 32 bytes", http.StatusBadRequest)
		return
	}
	last := s.room.enter()
	conn, rw, _, err := ws.UpgradeHTTP(r, w)
	if err != nil { // the client has the answer
		if conn != nil {
			_ = conn.Close()
		}
		return
	}
	early := make([]byte, rw.Reader.Buffered()) // sent with the request
	_, _ = rw.Read(early)                       // cannot fail
	s.serve(&client{conn: conn, state: state{Nick: nick, Last: last, Unread: early}})
}

// serve starts to serve a client, and transfers it when the room closes. The drain waits for it.
func (s *server) serve(c *client) {
	s.m.Go(func() error {
		defer c.conn.Close() //nolint:errcheck // everything has been sent
		err := c.stay(s.room)
		if err == nil {
			err = s.handOver(c)
		}
		if reason, ok := errors.AsType[closing](err); ok {
			c.bye(reason)
		}
		return nil
	})
}
