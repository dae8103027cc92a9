package gracehttp

import "context"

// contextKey is that of a connection in the contexts of its requests.
type contextKey struct{}

// connOf gives the connection of a request; nil if its server is not one of ours.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(contextKey{}).(*conn)
	return c
}

// Draining gives a channel that is closed when the server of a request begins to drain, for handlers that would go on for long:
// those of server-sent events, long polls and WebSockets should then come to an end soon, in a way that has their clients connect
// anew. The context of the request is not cancelled by the drain. At the drain's deadline its connection is closed.
//
// It takes the context of a request, also of one whose connection was hijacked and after its handler has returned, or one that
// was derived from it. With another context it returns nil, a channel that is never closed.
func Draining(ctx context.Context) <-chan struct{} {
	if c := connOf(ctx); c != nil {
		return c.server.serving.Done()
	}
	return nil
}

// OnDrain has f called, in a goroutine of its own, when the server of a request begins to drain, or at once if it drains already:
// to tell the client of a WebSocket to connect anew (by the status 1012, or 1001 if [grace.Manager.Cause] is ErrShutdown), for
// example, without a goroutine that waits for each connection. It takes the same contexts as [Draining]; with another one, f is
// never called.
//
// Calling stop takes that back. It reports false if f was called, or stop was: as that of [context.AfterFunc], it does not wait
// for f.
func OnDrain(ctx context.Context, f func()) (stop func() bool) {
	if c := connOf(ctx); c != nil {
		return context.AfterFunc(c.server.serving, f)
	}
	return func() bool { return false }
}
