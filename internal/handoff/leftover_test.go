//go:build unix

package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("between", betweenHelper)
	helpertest.Register("inheriting", inheritingHelper)
}

// betweenHelper is a program between two processes. It starts the next one with everything it has
// inherited.
func betweenHelper() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(helpertest.Env, "inheriting"); err != nil { // not "between" again
		return err
	}
	files := []uintptr{0, 1, 2, 3, 4, 5, 6}
	for i, fd := range files {
		if !helpertest.IsOpen(int(fd)) {
			files[i] = noFile
		}
	}
	pid, _, err := syscall.StartProcess(self, []string{self},
		&syscall.ProcAttr{Env: os.Environ(), Files: files})
	if err != nil {
		return err
	}
	var status syscall.WaitStatus
	_, err = syscall.Wait4(pid, &status, 0, nil)
	if status.ExitStatus() != 0 {
		return errors.Join(err, fmt.Errorf("the helper \"inheriting\" has ended with %v", status))
	}
	return err
}

// inheritingHelper takes a link after HANDOFF_TEST_SOCKETS sockets, and prints what it found and
// which of the descriptors 3 to 6 are then open.
func inheritingHelper() error {
	sockets, err := strconv.Atoi(os.Getenv("HANDOFF_TEST_SOCKETS"))
	if err != nil {
		return err
	}
	expected := Expected()
	l, following, err := TakeLink(sockets)
	fmt.Print("expected ", expected, ", link ", l != nil, ", following ", len(following),
		", error ", err != nil, ", open")
	for fd := 3; fd < 7; fd++ {
		if helpertest.IsOpen(fd) {
			fmt.Print(" ", fd)
		}
	}
	if l == nil {
		return nil
	}
	m, err := l.Receive(context.Background())
	if err == nil {
		fmt.Print(", ", Name(m))
	}
	return errors.Join(CloseAll(following), l.Close())
}

// A link that was passed on is taken if the old process is there. If not, the variable was meant
// for the process in between.
func TestLinkThatWasPassedOn(t *testing.T) {
	for name, tt := range map[string]struct {
		announced string
		hungUp    bool
		sockets   int
		want      string
	}{
		"by a shell": {announced: Announce(4, 1), sockets: 1,
			want: "expected false, link true, following 1, error false, open 3 5 6, Hello"},
		"hung up": {announced: Announce(4, 1), sockets: 1, hungUp: true,
			want: "expected false, link false, following 0, error false, open 3 6"},
		"its number is taken": {announced: Announce(4, 2), sockets: 2, hungUp: true,
			want: "expected false, link false, following 0, error false, open 3 4"},
		"its number is no link": {announced: Announce(3, 1), hungUp: true,
			want: "expected false, link false, following 0, error false, open 5 6"},
		"nothing is there": {announced: Announce(40, 3), hungUp: true,
			want: "expected false, link false, following 0, error false, open 3 4 5 6"},
	} {
		t.Run(name, func(t *testing.T) {
			link, theirs, err := Pair()
			must(t, err)
			file, err := os.Open(os.Args[0])
			must(t, err)
			must(t, link.Send(within(t), hello()))
			if tt.hungUp {
				must(t, link.Close())
			}
			helpertest.Use("inheriting")
			env := []string{tt.announced, "HANDOFF_TEST_SOCKETS=" + strconv.Itoa(tt.sockets)}
			end := startHelper(t, "between", env, 0, file.Fd(), theirs.Fd(), file.Fd(), file.Fd())
			must(t, errors.Join(theirs.Close(), file.Close()))
			if got := end(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !tt.hungUp {
				must(t, link.Close())
			}
		})
	}
}

// A variable from the parent itself must be correct.
func TestLinkFromTheParentIsNoLeftover(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	must(t, link.Close())
	env := []string{Announce(4, 1), "HANDOFF_TEST_SOCKETS=1"}
	end := startHelper(t, "inheriting", env, 0, theirs.Fd(), theirs.Fd(), theirs.Fd())
	got, want := end(), "expected true, link true, following 1, error false, open"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	env[1] = "HANDOFF_TEST_SOCKETS=2"
	end = startHelper(t, "inheriting", env, 0, theirs.Fd(), theirs.Fd(), theirs.Fd())
	got, want = end(), "expected true, link false, following 0, error true"
	if !strings.HasPrefix(got, want) {
		t.Errorf("a link among the sockets: got %s, want %s", got, want)
	}
	must(t, theirs.Close())
}

func TestLinkThatHasEnded(t *testing.T) {
	l, err := Ended()
	must(t, err)
	if m, err := l.Receive(within(t)); err == nil {
		t.Errorf("received %+v", m)
	}
	if err := l.Send(within(t), &Leave{}); err == nil {
		t.Error("somebody was told to leave")
	}
	must(t, l.Close())
}
