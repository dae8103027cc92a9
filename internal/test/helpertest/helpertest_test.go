//go:build unix

package helpertest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func init() { Register("help", func() error { fmt.Print("I help"); return nil }) }

func TestMain(m *testing.M) { Main(m, func() error { return goleak.Find() }) }

// self runs this binary again.
func self(t *testing.T, env ...string) (output string, err error) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestHelper(t *testing.T) {
	if out, err := self(t, Use("help")...); err != nil || out != "I help" {
		t.Errorf("the helper says %q, %v", out, err)
	}
	if out, err := self(t, Use("other")...); err == nil || out != "helper other: there is none of this name\n" {
		t.Errorf("a helper that there is not says %q, %v", out, err)
	}
}

// envLeave has the test below leave something in a run of its own.
const envLeave = "GRACE_HELPERTEST_LEAVE"

// What tests leave is found, and so is a helper of which they make no use.
func TestWhatTestsLeave(t *testing.T) {
	if what, ok := os.LookupEnv(envLeave); ok {
		leave(t, what)
		return
	}
	for what, want := range map[string]string{
		"nothing":    "",
		"descriptor": " is left open: ",
		"process":    "a child process is left",
		"goroutine":  "found unexpected goroutines",
		"helper":     `no test uses the helper "idle"`,
	} {
		out, err := self(t, envLeave+"="+what, "GORACE=atexit_sleep_ms=0")
		if failed := err != nil; failed != (want != "") || !strings.Contains(out, want) {
			t.Errorf("of a %s that was left it says %q, %v", what, out, err)
		}
	}
}

func leave(t *testing.T, what string) {
	switch what {
	case "descriptor":
		if _, err := unix.Dup(0); err != nil {
			t.Fatal(err)
		}
	case "process":
		if err := exec.Command(os.Args[0], "-test.list=^$").Start(); err != nil {
			t.Fatal(err)
		}
	case "goroutine":
		go func() { select {} }()
	case "helper":
		Register("idle", nil)
	}
}
