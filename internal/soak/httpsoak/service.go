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
	"github.com/go-grace/grace/gracehttp"
	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/httpload"
)

// The sockets of the service, by their names.
const (
	plainSocket = "plain"
	unixSocket  = "unix"
	tlsSocket   = "tls"
)

// The files of the service, in the directory that the driver has made.
const (
	unixFile  = "socket"
	largeFile = "file"
	certFile  = "cert"
	keyFile   = "key"
)

const (
	idleGrace    = gracehttp.DefaultIdleGrace // longer than any client is idle, unless connections are handed over
	drainTimeout = time.Minute
	censusPath   = "/census"
)

// serveAs runs the service, as the driver has asked for it: with a mode, and a directory.
func serveAs(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("the service takes a mode and a directory, not %q", args)
	}
	i := slices.IndexFunc(modes, func(m mode) bool { return m.name == args[0] })
	if i < 0 {
		return fmt.Errorf("there is no mode %q", args[0])
	}
	return serve(ctx, modes[i], args[1])
}

// serve runs the service in this process, until another one has taken over or it is to end.
func serve(ctx context.Context, d mode, dir string) error {
	m, err := grace.New(
		grace.WithObserver(grace.ObserverFunc(lineage.Observe)),
		grace.WithDrainTimeout(drainTimeout),
		grace.WithShutdownSignals(),
		grace.WithMaxDraining(2*lineage.MaxDraining), // the driver keeps to half of it, but a process says that it leaves before it does
	)
	if err != nil {
		return err
	}
	load := &httpload.Handler{File: filepath.Join(dir, largeFile)}
	sockets, err := listen(ctx, m, filepath.Join(dir, unixFile))
	if err == nil {
		err = d.serve(m, newServer(load), sockets, filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	}
	if err != nil {
		return errors.Join(err, m.Shutdown(ctx))
	}
	generation := m.Status().Generation
	m.Append(lineage.ReportReady(generation))
	err = m.Run(ctx)
	if err == nil {
		lineage.Send(lineage.Report{What: lineage.Left, Generation: generation, Handled: load.Handled()})
	}
	return err
}

func listen(ctx context.Context, m *grace.Manager, path string) (s sockets, err error) {
	if s.tcp, err = m.Listen(ctx, "tcp", anyPort, grace.Name(plainSocket)); err != nil {
		return s, err
	}
	if s.unix, err = m.Listen(ctx, "unix", path, grace.Name(unixSocket)); err != nil {
		return s, err
	}
	s.tls, err = m.Listen(ctx, "tcp", anyPort, grace.Name(tlsSocket))
	return s, err
}

const anyPort = "127.0.0.1:0"

// newServer answers the clients, and the driver.
func newServer(load *httpload.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/", load)
	mux.HandleFunc(censusPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(lineage.TakeCensus())
	})
	srv := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	srv.ErrorLog = log.New(io.Discard, "", 0) // it tells of TLS handshakes that are broken off: by Shutdown, or by clients that dial in advance
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}
