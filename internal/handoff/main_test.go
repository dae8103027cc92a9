//go:build unix

package handoff

import (
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

// startHelper starts a helper with these descriptors as 0, 3, 4 and so on. The returned function
// waits for its end and returns its output.
func startHelper(t *testing.T, name string, env []string, files ...uintptr) (output func() string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	env = append(helpertest.Use(name), env...)
	files = append([]uintptr{files[0], w.Fd(), 2}, files[1:]...)
	pid, _, err := syscall.StartProcess(self, []string{self},
		&syscall.ProcAttr{Env: env, Files: files})
	must(t, err)
	proc, err := os.FindProcess(pid)
	must(t, err)
	return func() string {
		defer r.Close()
		defer time.AfterFunc(time.Minute, func() { _ = proc.Kill() }).Stop()
		said, err := io.ReadAll(r)
		state, waitErr := proc.Wait()
		if err != nil || waitErr != nil || !state.Success() {
			t.Fatalf("helper %s: %v, %v, %v", name, state, waitErr, err)
		}
		return string(said)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
