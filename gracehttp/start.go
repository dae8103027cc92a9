package gracehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/go-grace/grace"
)

// Start starts to serve the listener by [http.Server.Serve], in a goroutine of its own, and drains
// the server when the process is replaced or stops. It does not block. It is called before
// [grace.Manager.Ready] or [grace.Manager.Run]: a listener from [grace.Manager.Listen] holds its
// clients back until this process is the one that serves. A listener from elsewhere is reported as
// a [ForeignListener].
//
// Start can be called several times, for several servers and for several listeners of one server.
// All servers of a Manager drain side by side. An option applies to the server, whichever call it
// is passed to.
//
// The first call for a server replaces its Handler, ConnState, ConnContext and TLSNextProto with
// functions that call the original ones, and sets DisableGeneralOptionsHandler. The fields of the
// server must not be changed after that, and it must not have served before. The drain ends with
// [http.Server.Shutdown], which closes the listener, so the server cannot be used again.
//
// If serving fails, the process fails with it, as described at [grace.Manager.Go]. A server whose
// owner calls [http.Server.Shutdown] or [http.Server.Close] has not failed. One whose listener
// alone is closed has.
//
// Start closes the listener and returns an error if an argument or an option is wrong. It does the
// same if the process is already draining; the error then matches [grace.Manager.Cause].
func Start(m *grace.Manager, srv *http.Server, ln net.Listener, opts ...Option) error {
	return startServing(m, srv, ln, false, opts, srv.Serve)
}

// StartTLS works like [Start] but serves by [http.Server.ServeTLS]: the certificate comes from the
// files, or from the TLSConfig of the server if both names are "". If the files do not hold a
// certificate and its key, StartTLS returns the error at once.
func StartTLS(
	m *grace.Manager, srv *http.Server, ln net.Listener, certFile, keyFile string, opts ...Option,
) error {
	if certFile != "" || keyFile != "" {
		if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
			err = fmt.Errorf("gracehttp: load the certificate: %w", err)
			return errors.Join(err, closeListener(ln))
		}
	}
	return startServing(m, srv, ln, true, opts, func(ln net.Listener) error {
		return srv.ServeTLS(ln, certFile, keyFile)
	})
}

// ListenAndServe runs a whole service. It takes the TCP socket of the server's Addr over from the
// previous process, or binds it, and serves until the service stops or a successor serves. It
// returns the error of [grace.Manager.Run], which is nil when the drain is complete. An Addr of ""
// is ":http".
func ListenAndServe(
	ctx context.Context, m *grace.Manager, srv *http.Server, opts ...Option,
) error {
	return listenAndServe(ctx, m, srv, ":http", func(ln net.Listener) error {
		return Start(m, srv, ln, opts...)
	})
}

// ListenAndServeTLS works like [ListenAndServe] but serves by [StartTLS]. An Addr of "" is
// ":https".
func ListenAndServeTLS(
	ctx context.Context, m *grace.Manager, srv *http.Server, certFile, keyFile string,
	opts ...Option,
) error {
	return listenAndServe(ctx, m, srv, ":https", func(ln net.Listener) error {
		return StartTLS(m, srv, ln, certFile, keyFile, opts...)
	})
}

func listenAndServe(
	ctx context.Context, m *grace.Manager, srv *http.Server, addr string,
	start func(net.Listener) error,
) error {
	if m == nil || srv == nil {
		return errMissing
	}
	if srv.Addr != "" {
		addr = srv.Addr
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err == nil {
		err = start(ln)
	}
	if err != nil {
		return giveUp(m, err)
	}
	return m.Run(ctx)
}

// giveUp ends a process that cannot serve. If it is a successor, the old process learns why.
func giveUp(m *grace.Manager, err error) error {
	// Shutdown is bounded by the drain timeout.
	return errors.Join(m.Fail(err), m.Shutdown(context.Background()))
}

var errMissing = errors.New("gracehttp: the Manager, the Server and the Listener must not be nil")

func startServing(
	m *grace.Manager, srv *http.Server, ln net.Listener, secure bool, opts []Option,
	serve func(net.Listener) error,
) error {
	if m == nil || srv == nil || ln == nil {
		return errors.Join(errMissing, closeListener(ln))
	}
	set, err := newSettings(opts)
	if err != nil {
		return errors.Join(err, closeListener(ln))
	}
	s := serverOf(m, srv)
	l, err := s.listen(ln, secure, set)
	if err != nil {
		return errors.Join(err, closeListener(ln))
	}
	reportForeign(m, srv, ln)
	m.Go(func() error { return s.served(l, serve(l)) })
	return nil
}

func closeListener(ln net.Listener) error {
	if ln == nil {
		return nil
	}
	return unlessClosed(ln.Close())
}

// unlessClosed returns nil if the error says that something is already closed, and err otherwise.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
