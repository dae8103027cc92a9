// Chat is a WebSocket chat whose clients do not notice an upgrade. Start it with an address, open
// that in some browsers, replace the binary and send it SIGHUP. It is a module of its own, which is
// built in its directory:
//
//	cd examples/chat && go build && ./chat localhost:8001
//
// The old process transfers its connections to the new one, each with the state of its client:
//
//   - The room of the old process closes. Whatever clients send from then on stays unread, as does
//     a message that is not complete.
//   - The room of the new process opens, and continues the count of messages.
//   - Each client gets the rest of the messages of the old room, and is transferred. In the new
//     room it continues where it was: messages that others have sent there meanwhile are kept.
//
// So each client gets every message sent while it is connected once, in the same order as all
// others, and none of its own messages is lost or doubled.
//
// A client that is too slow is dropped, with or without an upgrade: see the limits in room.go and
// client.go. When the service stops, it tells its clients (status 1001, going away). If the new
// process does not take a connection, its client is told to come back (1012, service restart). In
// both cases, messages that the client sent and has not got back may be lost. If a process crashes,
// its connections end with it, and the count may start over.
//
// The idle HTTP connections of browsers are handed over by gracehttp.WithIdleHandover.
//
// A connection can be transferred if the old process alone holds nothing that belongs to it. It
// would hold the keys of TLS, which a proxy should therefore terminate, and the compression window,
// which is not negotiated here.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chat HOST:PORT")
		os.Exit(2)
	}
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
		return m.Fail(err) // the previous process keeps serving
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /ws", s.connect)
	return gracehttp.ListenAndServe(context.Background(), m, &http.Server{
		Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second,
	}, gracehttp.WithIdleHandover())
}
