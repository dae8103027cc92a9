//go:build unix

package process

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// Tests of package grace reach the limits, in processes of their own.
func TestErrorsOfStartSayWhichLimitIsReached(t *testing.T) {
	long := Spec{
		Path: "x", Args: []string{"x", "-flag"},
		Env: []string{"SHORT=1", "LONG=12345678901234567890"},
	}
	for _, c := range []struct {
		spec Spec
		err  error
		want string
	}{
		{long, syscall.E2BIG, `have 42 bytes, and the variable "LONG" has 25 of them`},
		{Spec{Args: []string{"x", "a long argument"}, Env: []string{"A=1"}}, syscall.E2BIG,
			"an argument has 15 of them"},
		{long, syscall.EAGAIN, "RLIMIT_NPROC"},
		{long, syscall.ENOENT, syscall.ENOENT.Error()},
	} {
		if got := explain(c.spec, c.err); !errors.Is(got, c.err) ||
			!strings.Contains(got.Error(), c.want) {
			t.Errorf("%v is explained as %q, and not as %q", c.err, got, c.want)
		}
	}
}

func TestDescriptorThatIsClosedIsNoMatterOfLimits(t *testing.T) {
	spec := helperSpec(t, "look")
	spec.Files = append(spec.Files, 900)
	if _, err := Start(context.Background(), spec); !errors.Is(err, syscall.EBADF) {
		t.Errorf("Start returned %v", err)
	}
}
