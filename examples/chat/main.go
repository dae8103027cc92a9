// Chat is a WebSocket chat of which no client notices an upgrade. Start it with an address, open that in some browsers, replace the
// binary and send it SIGHUP.
//
// The old process gives its connections to the new one, each with what it knows of the client:
//
//   - Its room closes. What clients send from then on stays unread, the first half of a message too.
//   - The room of the new process opens, and counts on from the last message of the old one.
//   - Each client gets the rest of what was said in the old room, and goes over. In the new room it reads on from where it was: what
//     others have said there meanwhile is kept for it.
//
// So each client gets every message that is said while it is here, once, in the same order as all others, and each of its own messages
// is said once. Not so if a client is too slow: see the limits in room.go and client.go. It is dropped, whether or not there is an
// upgrade. When the service stops, clients are told so (status 1001, going away), and when the new process does not take a connection,
// its client is told to come again (1012, service restart); what it has sent and not got back by then may not have been said. If a
// process crashes, its connections end with it, and the count may begin anew.
//
// The idle connections of browsers, over which they have got the page, go over too, by gracehttp.WithIdleHandover.
//
// A connection can go over if nothing about it is in the old process alone. The keys of TLS would be: leave that to a proxy. So would
// the window of compression, which is not negotiated here.
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
)

func main() {
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	if err := run(m, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(m *grace.Manager, addr string) error {
	s, err := newServer(m)
	if err != nil {
		return errors.Join(err, m.Fail(err)) // the previous process serves on, and its log says why
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /ws", s.connect)
	return gracehttp.ListenAndServe(context.Background(), m, &http.Server{
		Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second,
	}, gracehttp.WithIdleHandover())
}
