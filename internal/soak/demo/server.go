package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
)

// serve is the service: an HTTP server that is replaced on SIGHUP. A service would call gracehttp.Serve; here serveHTTP is one of
// drains, to be compared.
func serve(ctx context.Context, addr string, serveHTTP func(*grace.Manager, *http.Server, net.Listener) error) error {
	m, err := grace.New(grace.WithObserver(grace.ObserverFunc(observe)))
	if err != nil {
		return err
	}
	ln, err := m.Listen(ctx, "tcp", addr) // binds in the first process, and takes over in those that follow
	if err != nil {
		return err
	}
	site := &site{generation: m.Status().Generation}
	if err := serveHTTP(m, &http.Server{Handler: site, ReadHeaderTimeout: 5 * time.Second}, ln); err != nil {
		return err
	}
	if err := m.Run(ctx); err != nil { // says that we are ready, upgrades on SIGHUP, returns when all is drained
		return err
	}
	send(report{What: left, Generation: site.generation, Requests: site.served.Load()})
	return nil
}

// drains are how the service can serve and drain.
var drains = map[string]func(*grace.Manager, *http.Server, net.Listener) error{
	servePoliteCommand:   drainPolitely,
	serveHandoverCommand: handOver,
	serveShutdownCommand: shutDown,
}

// drainPolitely is what gracehttp does by default.
func drainPolitely(m *grace.Manager, srv *http.Server, ln net.Listener) error {
	return gracehttp.Serve(m, srv, ln)
}

// handOver has connections between two requests go to the next process.
func handOver(m *grace.Manager, srv *http.Server, ln net.Listener) error {
	return gracehttp.Serve(m, srv, ln, gracehttp.WithIdleHandover())
}

// shutDown does without gracehttp: the drain is what the documentation of http.Server shows.
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

// observe tells the demo what happens. A service would rather write a log: see [grace.WithLogger].
func observe(r grace.Record) {
	switch e := r.Event.(type) {
	case grace.SocketOpened:
		send(report{What: listening, Generation: r.Generation, Addr: e.Addr.String()})
	case grace.ReadyFinished:
		if e.Err == nil {
			send(report{What: serving, Generation: r.Generation})
		}
	case grace.SuccessorStarted:
		send(report{What: started, Generation: r.Generation, Successor: e.PID})
	case grace.UpgradeFinished:
		if e.Err != nil {
			send(report{What: failed, Generation: r.Generation, Error: e.Err.Error()})
			return
		}
		send(report{What: upgraded, Generation: r.Generation, Successor: e.Successor, Took: e.Duration})
	case grace.DrainFinished:
		send(report{What: drained, Generation: r.Generation, Took: e.Duration})
	}
}

// servePlain is the same service without the library, for comparison: it ends on SIGTERM as the documentation of
// [http.Server.Shutdown] shows.
func servePlain(ctx context.Context, addr string, generation int) error {
	ln, err := listenPatiently(ctx, addr)
	if err != nil {
		return err
	}
	site := &site{generation: generation}
	srv := &http.Server{Handler: site, ReadHeaderTimeout: 5 * time.Second}
	result := make(chan error, 1)
	go func() { result <- srv.Serve(ln) }() // ends with Shutdown
	send(report{What: listening, Generation: generation, Addr: ln.Addr().String()})
	send(report{What: serving, Generation: generation})

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
	send(report{What: left, Generation: generation, Requests: site.served.Load()})
	return nil
}

// listenPatiently binds the port. It is tried for a while, as a supervisor would do it: while nobody listens, any process of
// the machine may get this port for a connection of its own.
func listenPatiently(ctx context.Context, addr string) (net.Listener, error) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return ln, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
