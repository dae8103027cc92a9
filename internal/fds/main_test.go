//go:build unix

package fds

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

// start describes how to start a helper: with these variables and no others.
type start struct {
	helper string
	env    []string
	stdin  *os.File  // nil for none
	files  []uintptr // its descriptors from First on; noFile leaves one closed
}

const noFile = ^uintptr(0)

// helper is a running helper.
type helper struct {
	name  string
	proc  *os.Process
	out   *os.File
	timer *time.Timer
}

// run starts a helper. It leaves the flags of its files as they are, which os/exec does not
// promise.
func (s start) run(t *testing.T) *helper {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	stdin := noFile
	if s.stdin != nil {
		stdin = s.stdin.Fd()
	}
	proc, err := startProcess(append(helpertest.Use(s.helper), s.env...),
		append([]uintptr{stdin, w.Fd(), 2}, s.files...))
	must(t, err)
	timer := time.AfterFunc(time.Minute, func() { _ = proc.Kill() })
	h := &helper{name: s.helper, proc: proc, out: r, timer: timer}
	t.Cleanup(h.end)
	return h
}

// end kills a helper whose test has failed.
func (h *helper) end() {
	h.timer.Stop()
	if h.proc != nil {
		_ = h.proc.Kill()
		_, _ = h.proc.Wait()
	}
	_ = h.out.Close()
}

// result waits until the helper has ended, which must succeed, and reads its output.
func (h *helper) result(t *testing.T, into any) {
	t.Helper()
	err := json.NewDecoder(h.out).Decode(into)
	state, waitErr := h.proc.Wait()
	h.proc = nil
	if err != nil || waitErr != nil || !state.Success() {
		t.Fatalf("helper %s: %v, %v, %v", h.name, state, waitErr, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
