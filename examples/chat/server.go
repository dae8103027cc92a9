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

// server brings clients into the room, and from there to the next process.
type server struct {
	m    *grace.Manager
	room *room
	relay
}

// page is for a person with a browser.
func (s *server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page) // a client that is gone does not need it
}

// connect makes a WebSocket of a request.
func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	nick := r.URL.Query().Get("nick")
	if nick == "" || len(nick) > maxNick || !utf8.ValidString(nick) {
		http.Error(w, "the parameter nick must have 1 to 32 bytes", http.StatusBadRequest)
		return
	}
	last := s.room.enter()
	conn, rw, _, err := ws.UpgradeHTTP(r, w)
	if err != nil { // the client was told
		if conn != nil {
			_ = conn.Close()
		}
		return
	}
	early := make([]byte, rw.Reader.Buffered()) // sent with the request
	_, _ = rw.Read(early)                       // cannot fail
	s.serve(&client{conn: conn, state: state{Nick: nick, Last: last, Unread: early}})
}

// serve begins to serve a client, in this process and then in the next one. The drain waits for it.
func (s *server) serve(c *client) {
	s.m.Go(func() error {
		defer c.conn.Close() //nolint:errcheck // all that was to be said was said
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
