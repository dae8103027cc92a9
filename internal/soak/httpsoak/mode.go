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
	name         string
	shutdownOnly bool               // it calls http.Server.Shutdown alone, and may lose requests
	options      []gracehttp.Option // of gracehttp, besides the idle grace
	keepsIdle    bool               // clients of plaintext HTTP/1 keep their idle connections
}

var modes = []mode{
	{name: "shutdown", shutdownOnly: true},
	{name: "polite"},
	{
		name:    "handover",
		options: []gracehttp.Option{gracehttp.WithIdleHandover()}, keepsIdle: true,
	},
}

// sockets are the listeners of the service.
type sockets struct {
	tcp, unix, tls, wrapped net.Listener
}

// serve serves the sockets.
func (m mode) serve(mgr *grace.Manager, srv *http.Server, s sockets, cert, key string) error {
	if m.shutdownOnly {
		drain := func(ctx context.Context) error { return shutDown(ctx, srv) }
		mgr.Append(grace.Hook{Name: "servers", OnDrain: drain})
		mgr.Go(func() error { return unlessShutDown(srv.Serve(s.tcp)) })
		mgr.Go(func() error { return unlessShutDown(srv.Serve(s.unix)) })
		mgr.Go(func() error { return unlessShutDown(srv.Serve(s.wrapped)) })
		mgr.Go(func() error { return unlessShutDown(srv.ServeTLS(s.tls, cert, key)) })
		return nil
	}
	opts := append(slices.Clone(m.options), gracehttp.WithIdleGrace(idleGrace))
	return errors.Join(
		gracehttp.Start(mgr, srv, s.tcp, opts...),
		gracehttp.Start(mgr, srv, s.unix, opts...),
		gracehttp.Start(mgr, srv, s.wrapped, opts...),
		gracehttp.StartTLS(mgr, srv, s.tls, cert, key, opts...),
	)
}

// shutdownTimeout bounds Shutdown, which may wait forever: it misses HTTP/2 connections that are
// being set up when it is called.
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
