package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/gracehttp"
	"github.com/go-grace/grace/internal/soak/lineage"
)

// The ways in which the service can serve and drain.
const (
	politeWay   = "polite"
	handoverWay = "handover"
	shutdownWay = "shutdown"
	plainWay    = "plain" // without the library, replaced in the restartWay
	restartWay  = "stop-and-start"
)

const (
	siteSocket = "site"
	anyPort    = "127.0.0.1:0"
)

// serveAs runs the service as the demo asks for it: in a way and at an address, and with a
// generation if it is a plain server, which has no Manager that knows it.
func serveAs(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && drains[args[0]] != nil:
		return serve(ctx, args[1], drains[args[0]])
	case len(args) == 3 && args[0] == plainWay:
		generation, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return servePlain(ctx, args[1], generation)
	}
	return fmt.Errorf("the service takes a way and an address, not %q", args)
}

// serve runs an HTTP server that upgrades itself on SIGHUP. A service would call gracehttp.Start
// where this one calls serveHTTP, which is one of drains.
func serve(
	ctx context.Context, addr string,
	serveHTTP func(*grace.Manager, *http.Server, net.Listener) error,
) error {
	m, err := grace.New(
		grace.WithObserver(graceevent.ObserverFunc(lineage.Observe)),
		grace.WithShutdownSignals(), // none: the demo ends the context
	)
	if err != nil {
		return err
	}
	// Listen binds in the first process, and takes over in its successors.
	ln, err := m.Listen(ctx, "tcp", addr, grace.WithName(siteSocket))
	if err != nil {
		return err
	}
	site := &site{generation: m.Status().Generation}
	if err := serveHTTP(m, newServer(site), ln); err != nil {
		return err
	}
	// Run reports that we are ready, upgrades on SIGHUP, and returns after the drain.
	if err := m.Run(ctx); err != nil {
		return err
	}
	site.leave()
	return nil
}

func newServer(s *site) *http.Server {
	return &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
}

// drains are the ways in which the service can serve and drain.
var drains = map[string]func(*grace.Manager, *http.Server, net.Listener) error{
	politeWay:   drainPolitely,
	handoverWay: handOver,
	shutdownWay: shutDown,
}

// drainPolitely does what gracehttp does by default.
func drainPolitely(m *grace.Manager, srv *http.Server, ln net.Listener) error {
	return gracehttp.Start(m, srv, ln)
}

// handOver hands connections to the next process between two requests.
func handOver(m *grace.Manager, srv *http.Server, ln net.Listener) error {
	return gracehttp.Start(m, srv, ln, gracehttp.WithIdleHandover())
}

// shutDown does without gracehttp: it drains as the documentation of http.Server shows.
func shutDown(m *grace.Manager, srv *http.Server, ln net.Listener) error {
	m.Append(grace.Hook{OnDrain: srv.Shutdown})
	m.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// servePlain runs the same service without the library, for comparison: it ends as the
// documentation of [http.Server.Shutdown] shows.
func servePlain(ctx context.Context, addr string, generation int) error {
	ln, err := listenPatiently(ctx, addr)
	if err != nil {
		return err
	}
	site := &site{generation: generation}
	srv := newServer(site)
	result := make(chan error, 1)
	go func() { result <- srv.Serve(ln) }() // ends with Shutdown
	lineage.Send(lineage.Report{
		What: lineage.Listening, Generation: generation, Socket: siteSocket,
		Addr: ln.Addr().String(),
	})
	lineage.Send(lineage.Report{What: lineage.Serving, Generation: generation})

	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace.DefaultDrainTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	site.leave()
	return nil
}

// listenPatiently retries for a while, as a supervisor would: while nobody listens, the system may
// give the port to an outgoing connection of any process.
func listenPatiently(ctx context.Context, addr string) (net.Listener, error) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return ln, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
