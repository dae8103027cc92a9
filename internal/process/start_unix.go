//go:build unix

package process

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/spawn"
)

func start(ctx context.Context, spec Spec) (int, error) {
	at := placed{path: spec.Path, release: func() {}}
	if e := spec.Executable; e != nil {
		var err error
		if at, err = e.place(spec.Files); err != nil {
			return 0, err
		}
		defer at.release()
		if err := e.Unchanged(); err != nil {
			return 0, err
		}
	}
	pid, err := fork(ctx, spec, at)
	if err != nil {
		err = explain(spec, err)
	}
	return pid, err
}

// fork makes the child, without holding this process up where the system can do that.
func fork(ctx context.Context, spec Spec, at placed) (int, error) {
	c, err := spawn.Start(spawn.Program{
		Path: at.path, Args: spec.Args, Env: spec.Env, Dir: spec.Dir,
		Files: spec.Files, Keep: at.keep,
	})
	if err == nil {
		return c.PID, c.Wait(ctx)
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return 0, err
	}
	pid, _, err := syscall.StartProcess(at.path, spec.Args,
		&syscall.ProcAttr{Dir: spec.Dir, Env: spec.Env, Files: spec.Files})
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
