package httpsoak

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
)

// mode is what an old process does with its connections.
type mode struct {
	name    string
	alone   bool               // http.Server.Shutdown is all that is done: it may lose requests
	options []gracehttp.Option // of gracehttp, besides the idle grace
	keeps   bool               // idle connections in plaintext, which clients go on to use
}

var modes = []mode{
	{name: "shutdown", alone: true},
	{name: "polite"},
	{name: "handover", options: []gracehttp.Option{gracehttp.WithIdleHandover()}, keeps: true},
}

// sockets are those of the service.
type sockets struct {
	tcp, unix, tls net.Listener
}

// serve serves the sockets.
func (d mode) serve(m *grace.Manager, srv *http.Server, s sockets, cert, key string) error {
	if d.alone {
		m.Append(grace.Hook{Name: "servers", OnDrain: func(ctx context.Context) error { return shutDown(ctx, srv) }})
		m.Go(func() error { return unlessShutDown(srv.Serve(s.tcp)) })
		m.Go(func() error { return unlessShutDown(srv.Serve(s.unix)) })
		m.Go(func() error { return unlessShutDown(srv.ServeTLS(s.tls, cert, key)) })
		return nil
	}
	opts := append(slices.Clone(d.options), gracehttp.WithIdleGrace(idleGrace))
	return errors.Join(
		gracehttp.Serve(m, srv, s.tcp, opts...),
		gracehttp.Serve(m, srv, s.unix, opts...),
		gracehttp.ServeTLS(m, srv, s.tls, cert, key, opts...),
	)
}

// shutdownTimeout is for Shutdown, which may wait for ever: it does not tell HTTP/2 connections that come up while it begins.
const shutdownTimeout = 10 * time.Second

func shutDown(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return srv.Close()
	}
	return err
}

func unlessShutDown(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
