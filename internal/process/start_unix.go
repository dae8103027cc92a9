//go:build unix

package process

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func start(spec Spec) (int, error) {
	path := spec.Path
	if e := spec.Executable; e != nil {
		placed, release, err := e.place(spec.Files)
		if err != nil {
			return 0, err
		}
		defer release()
		if err := e.Unchanged(); err != nil {
			return 0, err
		}
		path = placed
	}
	pid, _, err := syscall.StartProcess(path, spec.Args,
		&syscall.ProcAttr{Dir: spec.Dir, Env: spec.Env, Files: spec.Files})
	if err != nil {
		err = explain(spec, err)
	}
	return pid, err
}

func isBusy(err error) bool { return errors.Is(err, syscall.ETXTBSY) }

// Stdio returns the descriptors of the standard streams for [Spec.Files]. A closed one stays closed
// in the child.
func Stdio() []uintptr {
	files := make([]uintptr, 3)
	for fd := range files {
		files[fd] = uintptr(fd)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil ||
			flags&unix.FD_CLOEXEC != 0 {
			files[fd] = ^uintptr(0)
		}
	}
	return files
}

// Supported reports whether a process can be started with the sockets of this one.
const Supported = true

func signalNumber(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }
