package httpsoak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/gracehttp"
	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/httpload"
)

// The names of the service's sockets.
const (
	plainSocket   = "plain"
	unixSocket    = "unix"
	tlsSocket     = "tls"
	wrappedSocket = "wrapped"
)

// The files of the service, in the directory that the driver made.
const (
	unixFile  = "socket"
	largeFile = "file"
	certFile  = "cert"
	keyFile   = "key"
)

const (
	// idleGrace is longer than any client is idle, unless connections are handed over.
	idleGrace = gracehttp.DefaultIdleGrace

	drainTimeout = time.Minute
	censusPath   = "/census"
)

// serveAs runs the service with the arguments of the driver: a mode and a directory.
func serveAs(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("the service takes a mode and a directory, not %q", args)
	}
	i := slices.IndexFunc(modes, func(m mode) bool { return m.name == args[0] })
	if i < 0 {
		return fmt.Errorf("no mode %q", args[0])
	}
	return serve(ctx, modes[i], args[1])
}

// serve runs the service in this process, until another one has taken over or the context ends.
func serve(ctx context.Context, mode mode, dir string) error {
	opts := []grace.Option{
		grace.WithObserver(graceevent.ObserverFunc(lineage.Observe)),
		grace.WithDrainTimeout(drainTimeout),
		grace.WithShutdownSignals(), // none: the driver ends the context
		// The driver allows half as many, but a process sends its last report before it exits.
		grace.WithMaxDraining(2 * lineage.MaxDraining),
	}
	if !mode.shutdownOnly {
		opts = append(opts, grace.WithoutConnectionWait()) // gracehttp has to wait for its own
	}
	m, err := grace.New(opts...)
	if err != nil {
		return err
	}
	load := &httpload.Handler{
		File:     filepath.Join(dir, largeFile),
		Draining: gracehttp.Draining, OnDrain: gracehttp.OnDrain,
	}
	sockets, err := listen(ctx, m, filepath.Join(dir, unixFile))
	if err == nil {
		cert, key := filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
		err = mode.serve(m, newServer(load), sockets, cert, key)
	}
	if err != nil {
		return errors.Join(err, m.Shutdown(ctx))
	}
	generation := m.Status().Generation
	m.Append(lineage.ReportReady(generation))
	err = m.Run(ctx)
	if err == nil {
		lineage.Send(lineage.Report{
			What: lineage.Left, Generation: generation, Handled: load.Handled(),
		})
	}
	return err
}

func listen(ctx context.Context, m *grace.Manager, path string) (s sockets, err error) {
	if s.tcp, err = m.Listen(ctx, "tcp", anyPort, grace.WithName(plainSocket)); err != nil {
		return s, err
	}
	if s.unix, err = m.Listen(ctx, "unix", path, grace.WithName(unixSocket)); err != nil {
		return s, err
	}
	if s.tls, err = m.Listen(ctx, "tcp", anyPort, grace.WithName(tlsSocket)); err != nil {
		return s, err
	}
	ln, err := m.Listen(ctx, "tcp", anyPort, grace.WithName(wrappedSocket))
	s.wrapped = wrappingListener{ln}
	return s, err
}

const anyPort = "127.0.0.1:0"

// newServer returns a server that answers the clients and the driver.
func newServer(load *httpload.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/", load)
	mux.HandleFunc(censusPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(lineage.TakeCensus())
	})
	srv := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	// It would log each TLS handshake cut by Shutdown, or by a client that dials in advance.
	srv.ErrorLog = log.New(io.Discard, "", 0)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}
