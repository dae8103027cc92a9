//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

// repeated is a program that is run again and again.
type repeated struct {
	t       *testing.T
	stopped atomic.Bool
	ended   chan struct{} // closed after the last run
	outputs []string      // of all runs, until then not for the test
	err     error         // of the last run
}

// repeat runs a program that ends by itself, soon, until it is stopped.
func repeat(t *testing.T, path string, args ...string) *repeated {
	r := &repeated{t: t, ended: make(chan struct{})}
	ctx, kill := context.WithCancel(context.Background())
	t.Cleanup(func() { // has something to end only after a failure
		kill()
		<-r.ended
	})
	go func() { // ends after stop, a failure, or the test
		defer close(r.ended)
		for !r.stopped.Load() && r.err == nil {
			var out []byte
			out, r.err = exec.CommandContext(ctx, path, args...).CombinedOutput()
			r.outputs = append(r.outputs, string(out))
		}
	}()
	return r
}

// stop waits for the end of the last run, and gives what each has printed.
func (r *repeated) stop() []string {
	r.t.Helper()
	r.stopped.Store(true)
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("the program does not end")
	}
	if r.err != nil {
		r.t.Errorf("%v\n%s", r.err, r.outputs[len(r.outputs)-1])
	}
	return r.outputs
}
