package handoff

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() { helpertest.Register("judge", judgeHelper) }

// judgeHelper says whether it trusts the link that its environment announces.
func judgeHelper() error {
	equal, _ := FromEqual() // the error is about file capabilities, which this process does not have
	fmt.Print(equal)
	return nil
}

// A process trusts a link that its parent has made, if that has its rights.
func TestFromEqual(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	defer theirs.Close()
	listener := tcpListener(t)
	for _, c := range []struct{ what, value, want string }{
		{"the parent's link", Announce(3, 0), "true"},
		{"nothing", "A=", "false"},
		{"the link of another process", strings.Replace(Announce(3, 0),
			strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid()), 1), "false"},
		{"a socket that is no link", Announce(4, 0), "false"},
		{"a closed descriptor", Announce(9, 0), "false"},
	} {
		end := startHelper(t, "judge", []string{c.value}, noFile, theirs.Fd(),
			uintptr(fdOf(t, listener)))
		if got := end(); got != c.want {
			t.Errorf("%s is trusted: %s", c.what, got)
		}
	}
}

// A parent without rights that this process has is none of the service.
func TestCapabilitiesOfAnotherProcess(t *testing.T) {
	if !isAsCapable(os.Getpid()) || isAsCapable(1<<22+1) {
		t.Error("this process has other capabilities than itself, or a missing one has them")
	}
	ours := [2]uint32{1 << 5, 1}
	for _, c := range []struct {
		theirs [2]uint32
		want   bool
	}{
		{ours, true},
		{[2]uint32{1<<5 | 1<<7, 3}, true},
		{[2]uint32{1 << 7, 1}, false},
		{[2]uint32{1 << 5, 0}, false},
	} {
		if got := includes(c.theirs, ours); got != c.want {
			t.Errorf("%b of %b: %v", ours, c.theirs, got)
		}
	}
}

// Capabilities of a file are harmless if they are for networks alone.
func TestProof(t *testing.T) {
	if err := proof([2]uint32{1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_RAW}); err != nil {
		t.Errorf("capabilities for networks: %v", err)
	}
	for _, capability := range []int{unix.CAP_KILL, unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_ADMIN} {
		if proof([2]uint32{1<<unix.CAP_NET_BIND_SERVICE | 1<<capability}) == nil {
			t.Errorf("capability %d is taken for harmless", capability)
		}
	}
	if proof([2]uint32{0, 1}) == nil {
		t.Error("a capability of the second word is taken for harmless")
	}
}

// What is ignored stays open for this process, and reaches no child of it.
func TestIgnore(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	fd := passed(t, int(theirs.Fd()))
	must(t, theirs.Close())
	defer unix.Close(fd)
	t.Setenv(EnvLink, strings.TrimPrefix(Announce(fd, 0), EnvLink+"="))
	if !Ignore() || Ignore() {
		t.Error("the variable was not there once")
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if _, ok := os.LookupEnv(EnvLink); ok || err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the variable is there: %v; the descriptor has the flags %d, %v", ok, flags, err)
	}
	t.Setenv(EnvLink, "nonsense")
	if !Ignore() {
		t.Error("nonsense was not noticed")
	}
}
