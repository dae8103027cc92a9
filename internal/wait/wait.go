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

// looks is how often a wait looks at what it waits for. If the process is stopped or starved
// meanwhile, only a part of the time passes: what has happened then has to be noticed first.
const looks = 8

// Closed waits until the channel is closed. It reports false if d has passed or ctx has ended
// before. A stop of this process counts for at most an eighth of d.
func Closed(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	for i := range looks {
		timer := time.NewTimer(part(d, i))
		select {
		case <-c:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if IsClosed(c) || ctx.Err() != nil {
			break
		}
	}
	return IsClosed(c)
}

// part returns the ith part of d. Together they are all of it.
func part(d time.Duration, i int) time.Duration {
	if i == looks-1 {
		return d - d/looks*(looks-1)
	}
	return d / looks
}

// WithTimeout returns a context that ends with the cause after d, like that of
// [context.WithTimeoutCause]. A stop of this process counts for at most an eighth of d.
func WithTimeout(
	ctx context.Context, d time.Duration, cause error,
) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { // ends with ctx
		if !Closed(context.Background(), ctx.Done(), d) {
			cancel(cause)
		}
	}()
	done := make(chan struct{})
	context.AfterFunc(ctx, func() { close(done) })
	return timeoutContext{ctx, done, cause}, func() { cancel(nil) }
}

// timeoutContext has the error of a context whose time has run out, and a channel of its own, by
// which package context knows that it has to ask for that error.
type timeoutContext struct {
	context.Context //nolint:containedctx // is one
	done            chan struct{}
	cause           error
}

func (c timeoutContext) Done() <-chan struct{} { return c.done }

func (c timeoutContext) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), c.cause) {
		return context.DeadlineExceeded
	}
	return err
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
	}
	select {
	case err := <-result: // it came in time, and this process was stopped
		return withCause(ctx, err)
	default:
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
