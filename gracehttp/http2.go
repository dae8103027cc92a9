package gracehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// The protocols of http.Server.TLSNextProto that are HTTP/2. The second one is HTTP/2 without TLS:
// net/http does not document it, but golang.org/x/net/http2 uses it too.
const (
	http2WithTLS    = "h2"
	http2WithoutTLS = "unencrypted_http2"
)

// prefaceTime bounds the wait for the preface if the server has no timeout of its own for headers.
// It equals that of net/http, which clears the deadline later.
const prefaceTime = 10 * time.Second

// nextProto is a function of http.Server.TLSNextProto.
type nextProto = func(*http.Server, *tls.Conn, http.Handler)

// takeHTTP2 makes HTTP/2 connections come to serveHTTP2 instead of http.Server, if http.Server
// would serve them and passes them on. It changes nothing if the owner has configured HTTP/2. The
// listener is the first one of the server.
func (s *server) takeHTTP2(ln net.Listener, secure bool) {
	withTLS := s.Protocols == nil || s.Protocols.HTTP2()
	withoutTLS := s.Protocols != nil && s.Protocols.UnencryptedHTTP2()
	if withTLS && !secure && mayHideTLS(ln) || withoutTLS && !passesUnencrypted() {
		return
	}
	if !servesHTTP2(s.Server) {
		return
	}
	protos := maps.Clone(s.TLSNextProto)
	if protos == nil {
		protos = make(map[string]nextProto)
	}
	protos[http2WithTLS] = func(_ *http.Server, c *tls.Conn, _ http.Handler) { s.serveHTTP2TLS(c) }
	if withoutTLS {
		protos[http2WithoutTLS] = func(_ *http.Server, c *tls.Conn, _ http.Handler) {
			s.serveHTTP2(unencrypted(c), http2Preface)
		}
	}
	s.TLSNextProto = protos
	s.http2 = s.newHTTP2()
	s.RegisterOnShutdown(s.endHTTP2)
}

// mayHideTLS reports whether the listener may return connections with TLS that are not a *tls.Conn.
// http.Server, since Go 1.27, serves HTTP/2 on those, but not by TLSNextProto. The types of package
// net must match exactly: a wrapper that embeds one may have an Accept of its own.
func mayHideTLS(ln net.Listener) bool {
	switch ln := ln.(type) {
	case *net.TCPListener, *net.UnixListener:
		return false
	case plainListener:
		return !ln.AcceptsPlainConns()
	}
	return reflect.TypeOf(ln) != tlsListener
}

// plainListener is a listener that reports whether Accept returns connections of package net as
// they are. Those of [grace.Manager.Listen] do. A wrapper that embeds a [net.Listener] does not
// have the method, and nobody outside grace can name, and so embed, a type that has it.
type plainListener interface{ AcceptsPlainConns() bool }

// tlsListener is the type of the listeners that [tls.NewListener] returns. Their connections are
// each a *tls.Conn.
var tlsListener = reflect.TypeOf(tls.NewListener(nil, nil))

// servesHTTP2 reports whether http.Server would serve HTTP/2 by itself. It refuses some TLS
// settings.
func servesHTTP2(srv *http.Server) bool {
	if srv.TLSNextProto[http2WithTLS] != nil {
		return false
	}
	like := &http.Server{
		Protocols:    srv.Protocols,
		TLSNextProto: maps.Clone(srv.TLSNextProto),
		TLSConfig:    srv.TLSConfig.Clone(),
	}
	if like.TLSConfig == nil {
		like.TLSConfig = new(tls.Config)
	}
	like.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, nil // so that it needs no file
	}
	ln := newSingleListener(nil, nil)
	_ = ln.Close()
	err := like.ServeTLS(ln, "", "") // sets HTTP/2 up before it accepts
	return errors.Is(err, net.ErrClosed) && like.TLSNextProto[http2WithTLS] != nil
}

// isSecure reports whether HTTP/2 is allowed on a connection (RFC 9113, section 9.2), as far as the
// server has to check that.
func (s *server) isSecure(state tls.ConnectionState) bool {
	switch {
	case state.Version != tls.VersionTLS12:
		return state.Version > tls.VersionTLS12
	case s.HTTP2 != nil && s.HTTP2.PermitProhibitedCipherSuites:
		return true
	}
	return slices.Contains(secureCiphers, state.CipherSuite)
}

// secureCiphers are the cipher suites of package tls for TLS 1.2 that have ephemeral keys and are
// not block ciphers (RFC 9113, section 9.2.2).
var secureCiphers = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// passesUnencrypted reports whether http.Server passes HTTP/2 connections without TLS to
// TLSNextProto in the form that unencrypted expects.
var passesUnencrypted = sync.OnceValue(func() bool {
	client, conn := net.Pipe()
	closed := make(chan struct{})
	passed := false
	srv := &http.Server{
		Protocols: new(http.Protocols),
		TLSNextProto: map[string]nextProto{
			http2WithTLS: func(*http.Server, *tls.Conn, http.Handler) {},
			http2WithoutTLS: func(_ *http.Server, c *tls.Conn, _ http.Handler) {
				passed = unencrypted(c) == conn
			},
		},
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(closed)
			}
		},
	}
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { // ends with the connection
		_, _ = io.WriteString(client, http2Preface)
		_ = client.Close()
	}()
	_ = srv.Serve(newSingleListener(conn, closed))
	_ = conn.Close()
	return passed
})

// unencrypted returns the connection without TLS that net/http has wrapped in c, or nil if there is
// none.
func unencrypted(c *tls.Conn) net.Conn {
	if c, ok := c.NetConn().(interface{ UnencryptedNetConn() net.Conn }); ok {
		return c.UnencryptedNetConn()
	}
	return nil
}

// newHTTP2 returns the server that serves HTTP/2. To it, all connections seem to be without TLS.
func (s *server) newHTTP2() *http.Server {
	srv := settingsOf(s.Server)
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.TLSConfig, srv.TLSNextProto, srv.BaseContext = nil, nil, nil
	srv.Handler = s.http2Handler(srv.Handler)
	srv.ConnContext = func(_ context.Context, nc net.Conn) context.Context {
		c := nc.(*http2Conn).conn
		// the owner's ConnContext may have dropped our value
		return context.WithValue(c.context, contextKey{}, c)
	}
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		// the owner's server reports the other states
		if state == http.StateActive || state == http.StateIdle {
			s.ConnState(nc.(*http2Conn).Conn, state)
		}
	}
	return srv
}

// settingsOf returns a server with the same settings, including those of later versions of Go.
func settingsOf(srv *http.Server) *http.Server {
	like := new(http.Server)
	from, to := reflect.ValueOf(srv).Elem(), reflect.ValueOf(like).Elem()
	for i := range to.NumField() {
		if to.Type().Field(i).IsExported() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return like
}

// http2Handler shows requests the server and the connection of their owner.
func (s *server) http2Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = connOf(r.Context()).tls // for Push too
		shown := r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, s.Server))
		defer func() { r.MultipartForm = shown.MultipartForm }() // http.Server removes its files
		next.ServeHTTP(w, shown)
	})
}

// serveHTTP2TLS serves a connection with TLS until it is closed.
func (s *server) serveHTTP2TLS(c *tls.Conn) {
	if !s.isSecure(c.ConnectionState()) {
		_, _ = io.WriteString(c, noSettings+inadequateSecurity)
		return
	}
	s.serveHTTP2(c, "")
}

// serveHTTP2 serves a connection until it is closed. http.Server has already read the first part of
// the preface, which is passed as read.
func (s *server) serveHTTP2(nc net.Conn, read string) {
	c := newHTTP2Conn(nc, strings.NewReader(read), s.isDraining)
	c.conn = s.conns.find(nc)
	c.conn.setHTTP2(c)
	_ = nc.SetReadDeadline(time.Now().Add(prefaceTime)) // a dead connection reports that soon
	ln := newSingleListener(c, c.closed)
	_ = s.http2.Serve(ln) // until the connection or the server is closed
	if ln.isTaken() {
		<-c.closed
	}
}

// endHTTP2 makes net/http send its GOAWAY on all connections, and returns at once.
func (s *server) endHTTP2() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.http2.Shutdown(ctx)
}
