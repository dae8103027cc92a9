package process

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() { helpertest.Register("filtered", filteredHelper) }

// forbid has pidfd_send_signal(2) fail in all threads of this process, see seccomp(2).
func forbid(with syscall.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_PIDFD_SEND_SIGNAL},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// filteredHelper signals its parent and, by nothing that is a signal, its parent's parent.
func filteredHelper() error {
	with, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	other, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	parent, err := Watch(os.Getppid())
	if err != nil {
		return err
	}
	defer parent.Close()
	stranger, err := Watch(other)
	if err != nil {
		return err
	}
	defer stranger.Close()
	if err := forbid(syscall.Errno(with)); err != nil {
		return err
	}
	if err := parent.Signal(unix.SIGUSR1); err != nil {
		return err
	}
	if err := stranger.Signal(0); !errors.Is(err, syscall.Errno(with)) {
		return fmt.Errorf("the signal to another process: %w", err)
	}
	fmt.Println("done")
	return nil
}

// Where a filter forbids signals by descriptor, only the parent is signalled by its number.
func TestParentIsSignalledInSpiteOfAFilter(t *testing.T) {
	self := Self()
	if self == nil {
		t.Skip("this kernel has no process descriptors")
	}
	must(t, self.Close())
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGUSR1)
	defer signal.Stop(got)
	for _, with := range []syscall.Errno{unix.EPERM, unix.ENOSYS} {
		spec := helperSpec(t, "filtered", strconv.Itoa(int(with)), strconv.Itoa(os.Getppid()))
		if said := outputOf(t, spec); said != "done\n" {
			t.Errorf("with %v it says %q", with, said)
		}
		if sig := <-got; sig != unix.SIGUSR1 {
			t.Errorf("with %v, %v has come", with, sig)
		}
	}
}
