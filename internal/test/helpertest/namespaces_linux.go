package helpertest

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// InNamespaces has cmd start in new namespaces, a user namespace among them, in which it is root.
// It skips the test where none can be made, unless GRACE_REQUIRE_NAMESPACES is set.
func InNamespaces(t testing.TB, cmd *exec.Cmd, flags uintptr) {
	t.Helper()
	flags |= syscall.CLONE_NEWUSER
	if err := tryNamespaces(flags); err != nil {
		skip := t.Skip
		if os.Getenv("GRACE_REQUIRE_NAMESPACES") != "" {
			skip = t.Fatal
		}
		skip("this system does not let this process make namespaces:", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// tryNamespaces returns an error if namespaces cannot be made: EPERM, ENOSPC (a limit in
// /proc/sys/user), EINVAL (the kernel has none) or that of a filter. It starts a program that does
// not exist, which is only noticed in the namespaces. It is not tried with the command itself,
// because package syscall leaves the pipe for the mappings open if clone(2) fails.
func tryNamespaces(flags uintptr) error {
	_, err := syscall.ForkExec("", []string{""}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{Cloneflags: flags},
	})
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}
