// Package wait waits for something, and not for longer than it may take.
package wait

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// IsClosed reports whether a channel on which nothing is sent is closed.
func IsClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Closed waits until the channel is closed. It reports false if d has passed or ctx has ended
// before.
func Closed(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return IsClosed(c)
}

// Hold returns a context that ends for the same reason as ctx, as soon as before has returned, and
// the function that ends it earlier. before gets the context that is held; Hold calls it in a
// goroutine of its own, once ctx has ended.
func Hold(
	ctx context.Context, before func(held context.Context),
) (held context.Context, end context.CancelCauseFunc) {
	held, cancel := context.WithCancelCause(bounds{context.WithoutCancel(ctx), ctx})
	stop := context.AfterFunc(ctx, func() {
		before(held)
		cancel(context.Cause(ctx))
	})
	return held, func(cause error) {
		stop()
		cancel(cause)
	}
}

// bounds is a context with the deadline of another one, at which it does not end.
type bounds struct {
	context.Context //nolint:containedctx // a context is made of contexts
	of              context.Context
}

// Deadline implements [context.Context].
func (b bounds) Deadline() (time.Time, bool) { return b.of.Deadline() }

// Call calls f and returns what it returns; if its context has ended by then, an error also matches
// the cause of that. If f has not returned when the context has ended and the grace period has
// passed, f is left behind.
func Call(ctx context.Context, grace time.Duration, f func(context.Context) error) error {
	result := start(func() error { return f(ctx) })
	select {
	case err := <-result:
		return withCause(ctx, err)
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-result:
		return withCause(ctx, err)
	case <-timer.C:
		return fmt.Errorf("has not returned %v after its deadline: %w", grace, context.Cause(ctx))
	}
}

// ErrGoexit is the error of a function that did not return.
var ErrGoexit = errors.New("it has called runtime.Goexit instead of returning," +
	" as FailNow of package testing does")

// Do calls f in a goroutine of its own, which f may end, and returns what f returns.
func Do(f func() error) error { return <-start(f) }

// start calls f in a goroutine of its own.
func start(f func() error) (result <-chan error) {
	c := make(chan error, 1)
	go func() { // ends with f
		err := ErrGoexit
		defer func() { c <- err }()
		err = f()
	}()
	return c
}

// withCause adds why the context has ended to the error of a function that was interrupted by it.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
