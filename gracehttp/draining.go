package gracehttp

import (
	"context"
	"log"
	"net/http"
	"runtime/debug"
)

// contextKey is the key of a connection in the contexts of its requests.
type contextKey struct{}

// connOf returns the connection of a request, or nil if its server was not started by this package.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(contextKey{}).(*conn)
	return c
}

// Draining returns a channel that is closed when the server of a request begins to drain. It is for
// handlers that would run for long, such as those of server-sent events, long polls and WebSockets:
// they should then finish soon, in a way that makes their clients connect again. The drain does not
// cancel the context of the request. At its deadline it closes the connection.
//
// Draining takes the context of a request, or one derived from it. The context may be used after
// the connection was hijacked and after the handler has returned. With any other context Draining
// returns nil, a channel that is never closed.
func Draining(ctx context.Context) <-chan struct{} {
	if c := connOf(ctx); c != nil {
		return c.server.serving.Done()
	}
	return nil
}

// OnDrain calls f in a goroutine of its own when the server of a request begins to drain, or at
// once if it is already draining. For example, f can tell the client of a WebSocket to connect
// again, with the status 1012, or 1001 if [grace.Manager.Cause] is ErrShutdown. Without OnDrain,
// each connection would need a goroutine that waits. OnDrain takes the same contexts as [Draining].
// With any other context, f is never called.
//
// A panic of f is logged, as net/http logs that of a handler: the other connections are not its
// fault.
//
// Calling stop cancels the call. It reports false if f was already called or stop was. Like the
// stop function of [context.AfterFunc], it does not wait for f.
func OnDrain(ctx context.Context, f func()) (stop func() bool) {
	if c := connOf(ctx); c != nil {
		return context.AfterFunc(c.server.serving, func() {
			defer c.server.logPanic("OnDrain")
			f()
		})
	}
	return func() bool { return false }
}

// logPanic recovers from a panic as net/http does from one of a handler.
func (s *server) logPanic(where string) {
	v := recover()
	if v == nil || v == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		return
	}
	printf := log.Printf
	if s.ErrorLog != nil {
		printf = s.ErrorLog.Printf
	}
	printf("gracehttp: panic in a function of %s: %v\n%s", where, v, debug.Stack())
}
