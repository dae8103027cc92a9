//go:build amd64 || arm64

// The tests are in a package of their own: openfiles itself must import nothing.
package openfiles_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/openfiles"
	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() { helpertest.Register("limit", limitHelper) }

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

// limitHelper prints the limit at its start, and the one that package syscall gives to a child.
func limitHelper() error {
	start, raised := openfiles.RaisedFrom()
	fmt.Println(start.Soft, raised)
	cmd := exec.Command("/bin/sh", "-c", "ulimit -S -n")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// The limit is read before package syscall raises it.
func TestLimitAtTheStart(t *testing.T) {
	for limit, want := range map[string]string{
		"ulimit -S -n 300": "300 true\n300\n",
		"ulimit -n 700":    "700 false\n700\n", // the hard one too
	} {
		cmd := exec.Command("/bin/sh", "-c", limit+` && exec "$0"`, os.Args[0])
		cmd.Env, cmd.Stderr = helpertest.Use("limit"), os.Stderr
		if got, err := cmd.Output(); err != nil || string(got) != want {
			t.Errorf("%s: the helper and its child have %q, %v; want %q", limit, got, err, want)
		}
	}
}

// A limit that somebody has set since is not one that package syscall has raised.
func TestLimitThatWasSetSince(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil) //nolint:errcheck // it was so before
	lower := limit
	lower.Cur -= 10
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &lower, nil); err != nil {
		t.Fatal(err)
	}
	if start, raised := openfiles.RaisedFrom(); raised {
		t.Errorf("%d counts as raised from %d", lower.Cur, start.Soft)
	}
}
