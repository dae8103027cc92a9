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

// Start serves the listener by [http.Server.Serve] in a goroutine of its own, and drains the server when the process is replaced or
// stops. It does not block, and is called before [grace.Manager.Ready] or [grace.Manager.Run]: a listener from
// [grace.Manager.Listen] holds its clients back until the process is the one that serves.
//
// It can be called several times, for several servers and for several listeners of one server. All servers of a Manager drain
// side by side. An option holds for the server, whichever call gives it.
//
// The first call for a server takes its Handler, ConnState, ConnContext and TLSNextProto over: those of the caller are called by ours.
// Its fields must not be changed after that, and it must not have served yet. The drain ends with [http.Server.Shutdown], so a
// server cannot be used again, and closes the listener.
//
// If serving fails, the process cannot: see [grace.Manager.Go] for what follows. A server that its owner ends by
// [http.Server.Shutdown] or [http.Server.Close] has not failed; closing the listener alone is a failure.
//
// Start returns an error, having closed the listener, if an argument or an option is wrong, or if the process drains already; it
// then matches [grace.Manager.Cause].
func Start(m *grace.Manager, srv *http.Server, ln net.Listener, opts ...Option) error {
	return startServing(m, srv, ln, false, opts, srv.Serve)
}

// StartTLS is [Start] by [http.Server.ServeTLS]: the certificate comes from the files, or, if both names are "", from the server's
// TLSConfig. Files that do not hold a certificate and its key are an error at once.
func StartTLS(m *grace.Manager, srv *http.Server, ln net.Listener, certFile, keyFile string, opts ...Option) error {
	if certFile != "" || keyFile != "" {
		if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
			return errors.Join(fmt.Errorf("gracehttp: load the certificate: %w", err), closeListener(ln))
		}
	}
	return startServing(m, srv, ln, true, opts, func(ln net.Listener) error { return srv.ServeTLS(ln, certFile, keyFile) })
}

// ListenAndServe is a whole service: it takes the TCP socket of the server's Addr over from the previous process, or binds it,
// serves, and returns what [grace.Manager.Run] returns: nil when all is drained. An Addr of "" is ":http".
func ListenAndServe(ctx context.Context, m *grace.Manager, srv *http.Server, opts ...Option) error {
	return listenAndServe(ctx, m, srv, ":http", func(ln net.Listener) error { return Start(m, srv, ln, opts...) })
}

// ListenAndServeTLS is [ListenAndServe] by [StartTLS]. An Addr of "" is ":https".
func ListenAndServeTLS(ctx context.Context, m *grace.Manager, srv *http.Server, certFile, keyFile string, opts ...Option) error {
	return listenAndServe(ctx, m, srv, ":https", func(ln net.Listener) error {
		return StartTLS(m, srv, ln, certFile, keyFile, opts...)
	})
}

func listenAndServe(ctx context.Context, m *grace.Manager, srv *http.Server, addr string, serve func(net.Listener) error) error {
	if m == nil || srv == nil {
		return errMissing
	}
	if srv.Addr != "" {
		addr = srv.Addr
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err == nil {
		err = serve(ln)
	}
	if err != nil {
		return giveUp(m, err)
	}
	return m.Run(ctx)
}

// giveUp ends a process that cannot serve: in a successor, the old one learns why.
func giveUp(m *grace.Manager, err error) error {
	_ = m.Fail(err)                                           // there may be no old process
	return errors.Join(err, m.Shutdown(context.Background())) // bounded by the drain timeout
}

var errMissing = errors.New("gracehttp: the Manager, the Server and the Listener must not be nil")

func startServing(m *grace.Manager, srv *http.Server, ln net.Listener, secure bool, opts []Option, run func(net.Listener) error) error {
	if m == nil || srv == nil || ln == nil {
		return errors.Join(errMissing, closeListener(ln))
	}
	set, err := newSettings(opts)
	if err != nil {
		return errors.Join(err, closeListener(ln))
	}
	s, l, err := groupOf(m).add(srv, ln, secure, set)
	if err != nil {
		return errors.Join(err, closeListener(ln))
	}
	m.Go(func() error { return s.served(l, run(l)) })
	return nil
}

func closeListener(ln net.Listener) error {
	if ln == nil {
		return nil
	}
	return unlessClosed(ln.Close())
}

// unlessClosed drops the error of what is closed already.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
