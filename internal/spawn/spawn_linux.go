//go:build amd64 || arm64

package spawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clone makes a child, which makes the calls; the last one ends it. The result is that of clone(2).
//
//go:noescape
func clone(flags uintptr, first *call) (result uintptr)

// Child is a process that is about to execute its program.
type Child struct {
	PID    int
	script *script
	dir    string
	begun  chan struct{} // closed when the child has executed its program, or has ended
}

// Start makes a process that executes a program. It returns as soon as the process exists and has
// copies of all descriptors. The caller must call Wait.
//
// The error matches [errors.ErrUnsupported] if the system does not allow such a process.
func Start(p Program) (*Child, error) {
	r, w, err := statusPipe(p.Files)
	if err != nil {
		return nil, err
	}
	s, err := prepare(p, w)
	if err != nil {
		return nil, errors.Join(err, r.Close(), unix.Close(w))
	}
	pid, err := s.run()
	if err := errors.Join(err, unix.Close(w)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	c := &Child{PID: pid, script: s, dir: p.Dir, begun: make(chan struct{})}
	go c.await(r) // ends when the child has begun or ended
	return c, nil
}

// statusPipe returns a pipe whose writing end is closed in the child when it executes its program.
// Its number is one that the child's files leave alone.
func statusPipe(files []uintptr) (*os.File, int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, 0, err
	}
	defer w.Close() //nolint:errcheck // nothing is written
	var high int
	raw, err := w.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) {
			high, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, Spare(files))
		})
		err = errors.Join(controlErr, err)
	}
	if err != nil {
		return nil, 0, errors.Join(beyond(files, err), r.Close())
	}
	return r, high, nil
}

// beyond explains that no descriptor with a spare number can be had.
func beyond(files []uintptr, err error) error {
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EMFILE) {
		return err
	}
	return fmt.Errorf("%w: passing %d descriptors needs numbers up to %d",
		unix.EMFILE, len(files), Spare(files)+1)
}

// prepare writes down what the child does. Signals are still blocked in it when it begins.
func prepare(p Program, status int) (s *script, err error) {
	s = newScript(p.Files)
	if s.path, err = unix.BytePtrFromString(p.Path); err != nil {
		return nil, err
	}
	if s.args, err = syscall.SlicePtrFromStrings(p.Args); err != nil {
		return nil, err
	}
	if s.env, err = syscall.SlicePtrFromStrings(p.Env); err != nil {
		return nil, err
	}
	s.addFiles(p.Files, slices.Sorted(slices.Values(append(slices.Clip(p.Keep), uintptr(status)))))
	s.addSignals()
	if p.Dir != "" {
		if s.dir, err = unix.BytePtrFromString(p.Dir); err != nil {
			return nil, err
		}
		s.chdir = len(s.calls)
		s.add(true, unix.SYS_CHDIR, pointer(s.dir))
	}
	var other bool
	if s.limit, other = openFiles(len(p.Files)); other {
		s.add(false, unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, pointer(&s.limit), 0)
	}
	s.add(true, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, pointer(&s.mask), 0, maskSize)
	s.add(true, unix.SYS_EXECVE, pointer(s.path), pointer(&s.args[0]), pointer(&s.env[0]))
	s.end()
	return s, nil
}

// run makes the child. This thread has all signals blocked meanwhile, and so has the child: it must
// not run a handler of the Go runtime in our memory.
func (s *script) run() (pid int, err error) {
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &s.mask); err != nil {
		return 0, err
	}
	syscall.ForkLock.Lock() // package os opens some descriptors that are not close-on-exec at once
	result := clone(unix.CLONE_VM|uintptr(unix.SIGCHLD), &s.calls[0])
	syscall.ForkLock.Unlock()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &s.mask, nil) // it was possible before
	if code := -int(result); code > 0 && code < 4096 {
		return 0, fmt.Errorf("%w: clone: %w", errors.ErrUnsupported, unix.Errno(code))
	}
	return int(result), nil
}

// await closes begun when the child no longer holds the pipe.
func (c *Child) await(r *os.File) {
	defer close(c.begun)
	_, _ = r.Read(make([]byte, 1)) // nothing but the end can come
	_ = r.Close()
}

// killPatience bounds the wait for the end of a child that was killed. Some file systems do not
// even let that interrupt the opening of a file.
const killPatience = time.Second

// Wait returns when the program was executed, or why it was not. If the context ends before, the
// child is killed. After an error the process is gone, or will be: it is waited for, see wait(2).
func (c *Child) Wait(ctx context.Context) error {
	select {
	case <-c.begun:
	case <-ctx.Done():
		if !isClosed(c.begun) {
			return c.giveUp(context.Cause(ctx))
		}
	}
	index, err := c.script.failure()
	if err == nil {
		return nil
	}
	c.reap()
	if index == c.script.chdir {
		return fmt.Errorf("change to the directory %s: %w", c.dir, err)
	}
	return err
}

func (c *Child) giveUp(cause error) error {
	_ = unix.Kill(c.PID, unix.SIGKILL) // nobody has waited for it
	reaped := make(chan struct{})
	go func() { // ends with the child
		defer close(reaped)
		c.reap()
		<-c.begun
	}()
	timer := time.NewTimer(killPatience)
	defer timer.Stop()
	select {
	case <-reaped:
	case <-timer.C:
	}
	return fmt.Errorf("the system had not opened the program by then: %w", cause)
}

// reap waits for the end of the child.
func (c *Child) reap() {
	for {
		_, err := unix.Wait4(c.PID, nil, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
