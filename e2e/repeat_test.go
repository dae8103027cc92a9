//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

// repeated is a program that is run repeatedly.
type repeated struct {
	t       *testing.T
	stopped atomic.Bool
	ended   chan struct{} // closed after the last run
	outputs []string      // of all runs; the test reads it when ended is closed
	err     error         // of the last run; likewise
}

// repeat runs a program that ends soon by itself, until stop is called.
func repeat(t *testing.T, path string, args ...string) *repeated {
	r := &repeated{t: t, ended: make(chan struct{})}
	ctx, kill := context.WithCancel(context.Background())
	t.Cleanup(func() { // after a success, it has ended
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

// stop waits for the last run to end, and returns the outputs of all runs.
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
