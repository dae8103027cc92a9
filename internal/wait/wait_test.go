package wait

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := make(chan struct{})
		began := time.Now()
		if Closed(t.Context(), c, time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("an open channel counts as closed, or was not waited for: %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if Closed(ctx, c, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("the context's end was not noticed: %v", time.Since(began))
		}
		time.AfterFunc(time.Second, func() { close(c) })
		if !Closed(t.Context(), c, time.Minute) || !IsClosed(c) {
			t.Error("a closed channel counts as open")
		}
		if !Closed(ctx, c, 0) {
			t.Error("what is closed counts as open when there is no time")
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errOwn := errors.New("own")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errOwn)
		defer cancel()
		held, end := Hold(ctx, func(held context.Context) {
			Closed(context.Background(), held.Done(), time.Minute)
		})
		defer end(nil)
		want, _ := ctx.Deadline()
		if deadline, ok := held.Deadline(); !ok || deadline != want {
			t.Errorf("the deadline is %v, %v", deadline, ok)
		}
		began := time.Now()
		<-held.Done()
		if context.Cause(held) != errOwn || time.Since(began) != time.Second+time.Minute {
			t.Errorf("it ended after %v: %v", time.Since(began), context.Cause(held))
		}
	})
}

func TestHoldThatIsEndedEarlier(t *testing.T) {
	for _, wait := range []time.Duration{0, 2 * time.Second} { // before and after the end of ctx
		synctest.Test(t, func(t *testing.T) {
			errOwn := errors.New("own")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			called := false
			held, end := Hold(ctx, func(held context.Context) { called = true; <-held.Done() })
			time.Sleep(wait)
			end(errOwn)
			<-held.Done()
			time.Sleep(time.Minute)
			if context.Cause(held) != errOwn || called != (wait > 0) {
				t.Errorf("after %v: %v, called: %v", wait, context.Cause(held), called)
			}
		})
	}
}

func TestFunctionThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		err := Call(ctx, time.Second, func(context.Context) error { runtime.Goexit(); return nil })
		if !errors.Is(err, ErrGoexit) || time.Since(began) > 0 {
			t.Errorf("Call returned %v after %v", err, time.Since(began))
		}
		if err := Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, ErrGoexit) {
			t.Errorf("Do returned %v", err)
		}
	})
}

// Its parts add up, and its end is told from that of its parent.
func TestWithTimeout(t *testing.T) {
	errSlow, errOther := errors.New("too slow"), errors.New("other")
	for _, d := range []time.Duration{-1, 0, 1, 9, time.Second, 1<<63 - 1} {
		synctest.Test(t, func(t *testing.T) {
			parent, end := context.WithCancelCause(t.Context())
			defer end(nil)
			time.AfterFunc(time.Hour, func() { end(errOther) })
			ctx, cancel := WithTimeout(parent, d, errSlow)
			defer cancel()
			child, cancelChild := context.WithCancel(ctx)
			defer cancelChild()
			began := time.Now()
			<-child.Done()
			took, want, err := max(0, d), errSlow, context.DeadlineExceeded
			if d > time.Hour {
				took, want, err = time.Hour, errOther, context.Canceled
			}
			if time.Since(began) != took || context.Cause(child) != want || child.Err() != err ||
				ctx.Err() != err {
				t.Errorf("%v: after %v: %v, %v", d, time.Since(began), context.Cause(child),
					child.Err())
			}
		})
	}
	ctx, cancel := WithTimeout(t.Context(), time.Hour, errSlow)
	cancel()
	if ctx.Err() != context.Canceled {
		t.Errorf("cancelled: %v", ctx.Err())
	}
}

func TestCall(t *testing.T) {
	errOwn := errors.New("own")
	for name, c := range map[string]struct {
		takes time.Duration
		want  error
		after time.Duration
	}{
		"in time":             {time.Second, errOwn, time.Second},
		"in the grace period": {61 * time.Second, errOwn, 61 * time.Second},
		"too late":            {time.Hour, context.DeadlineExceeded, 62 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				err := Call(ctx, 2*time.Second, func(context.Context) error {
					time.Sleep(c.takes) // fake
					return errOwn
				})
				if !errors.Is(err, c.want) || time.Since(began) != c.after {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				time.Sleep(c.takes) // the function ends before the bubble
			})
		})
	}
}
