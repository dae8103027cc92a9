package grace

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-grace/grace/internal/wait"
)

// PanicError is matched, by [errors.As], by an error about a function of the application that has
// panicked: one of a [Hook], of an option or of [Manager.PassState], an observer, or a function of
// [Manager.HandleTransfers]. Such a panic does not end the process, whose connections are not its
// fault. Only what runs in the same goroutine is recovered, and no fatal error of the runtime. A
// function of [Manager.Go] is a goroutine of the service itself: its panic ends the process.
//
// The functions end with an error too if they call [runtime.Goexit], as FailNow of package testing
// does.
type PanicError struct {
	// Value is what panic was called with. If it is an error, errors.Is and errors.As look into it.
	Value any
	// Stack is the stack of the goroutine at the panic, in the form of [runtime/debug.Stack].
	Stack []byte
}

// Error implements error. The text includes the stack, because logs are where it is looked for.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", e.Value, e.Stack) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// callback calls a function of the application for which Ready or an upgrade waits. Its panic is a
// *PanicError.
//
//go:noinline
func callback(f func() error) error {
	err := recovered(f)
	return err
}

// recovered calls f. Its panic is a *PanicError.
func recovered(f func() error) (err error) {
	returned := false
	defer func() {
		if !returned {
			v := recover() // nil if f has called Goexit, in which case nobody gets err from here
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	err = f()
	returned = true
	return err
}

// observing is callback for an observer.
//
//go:noinline
func observing(f func() error) error {
	err := callback(f)
	return err
}

// part calls a function of the application for which the drain waits.
//
//go:noinline
func part(f func() error) error {
	err := f()
	return err
}

// call is [wait.Call] for a function of the application.
func call(ctx context.Context, grace time.Duration, f func(context.Context) error) error {
	return wait.Call(ctx, grace, func(ctx context.Context) error {
		return callback(func() error { return f(ctx) })
	})
}

// ErrCallback is returned by Ready, Upgrade, Shutdown, Wait and Run, and matched by the error of
// Fail, if they are called by a function that they would wait for: one of a [Hook], of an option or
// of [Manager.PassState], an observer, and for Shutdown, Wait and Run also a function of
// [Manager.Go] or [Manager.HandleTransfers]. Shutdown has begun all the same, and Fail has given up
// the handoff unless it was committed before. The Listen functions match ErrCallback if an observer
// calls them while they would wait for the end of an upgrade.
//
// To wait, the function can start a goroutine. That must not use the context of the function, which
// ends when the function returns, and not be waited for.
var ErrCallback = errors.New("grace: called by a function that this would wait for:" +
	" call it in a goroutine of its own")

var (
	inCallback = calledBy(callback)
	inObserver = calledBy(observing)
	inWork     = calledBy(callback, part)
)

// calledBy returns a function that reports whether its caller was called, directly or not, by one
// of the functions in the same goroutine.
func calledBy(functions ...func(func() error) error) func() bool {
	names := make([]string, len(functions))
	for i, f := range functions {
		names[i] = runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	}
	return func() bool {
		frames := runtime.CallersFrames(stack())
		for {
			frame, more := frames.Next()
			if slices.Contains(names, frame.Function) {
				return true
			}
			if !more {
				return false
			}
		}
	}
}

// stack returns the calls of this goroutine.
func stack() []uintptr {
	for size := 64; ; size *= 2 {
		pcs := make([]uintptr, size)
		if n := runtime.Callers(0, pcs); n < size {
			return pcs[:n]
		}
	}
}
