//go:build amd64 || arm64

package spawn

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call of a child. Its layout is known to the assembly.
type call struct {
	number uintptr
	args   [6]uintptr
	skip   uintptr // how far the next call is, in bytes, if this one fails
	result uintptr // set by the child, which shares our memory
}

const callSize = unsafe.Sizeof(call{})

// failed returns the error of a call that was made and has failed.
func (c *call) failed() error {
	if code := -int(c.result); code > 0 && code < 4096 {
		return unix.Errno(code)
	}
	return nil
}

// script is what a child does. All memory that its calls point to is kept by it, and on the heap.
type script struct {
	calls   []call
	needed  []bool // whether a failure ends the child
	chdir   int    // index of the call, or -1
	mask    unix.Sigset_t
	action  sigaction // SIG_DFL
	present sigaction // of the signal that was looked at last
	limit   unix.Rlimit
	path    *byte
	dir     *byte
	args    []*byte
	env     []*byte
}

// newScript returns an empty script with room for the calls of a program with these files.
func newScript(files []uintptr) *script {
	room := len(files) + moves(files) + 80 // signals, and single calls
	return &script{calls: make([]call, 0, room), needed: make([]bool, 0, room), chdir: -1}
}

func (s *script) add(needed bool, number uintptr, args ...uintptr) {
	c := call{number: number}
	copy(c.args[:], args)
	s.calls, s.needed = append(s.calls, c), append(s.needed, needed)
}

// end adds the exit of a child that cannot go on, and has each call that is needed lead there.
func (s *script) end() {
	s.add(true, unix.SYS_EXIT_GROUP, exitCode)
	last := len(s.calls) - 1
	for i := range s.calls {
		s.calls[i].skip = callSize
		if s.needed[i] {
			s.calls[i].skip = uintptr(last-i) * callSize
		}
	}
}

// exitCode is that of a shell which cannot execute a command.
const exitCode = 126

// failure returns why the child could not go on, or nil if it could.
func (s *script) failure() (index int, err error) {
	for i := range s.calls {
		if err := s.calls[i].failed(); err != nil && s.needed[i] {
			return i, err
		}
	}
	return 0, nil
}

// addFiles puts the files in their places, and closes all others but those to keep, which are in
// ascending order.
func (s *script) addFiles(files, keep []uintptr) {
	from := s.addMoves(files)
	for i, fd := range from {
		to := uintptr(i)
		switch fd {
		case None:
			s.add(false, unix.SYS_CLOSE, to)
		case to:
			s.add(true, unix.SYS_FCNTL, to, unix.F_SETFD, 0)
		default:
			s.add(true, unix.SYS_DUP3, fd, to, 0)
		}
	}
	first := uintptr(len(files))
	for _, fd := range keep {
		if first < fd {
			s.add(false, unix.SYS_CLOSE_RANGE, first, fd-1, 0)
		}
		first = fd + 1
	}
	s.add(false, unix.SYS_CLOSE_RANGE, first, uintptr(^uint32(0)), 0)
}

// addMoves moves each file that is in the way of another beyond all numbers in use. It returns where
// the files are then.
func (s *script) addMoves(files []uintptr) []uintptr {
	from := slices.Clone(files)
	spare := uintptr(Spare(files) - moves(files))
	for i, fd := range files {
		if inTheWay(i, fd) {
			s.add(true, unix.SYS_DUP3, fd, spare, unix.O_CLOEXEC)
			from[i] = spare
			spare++
		}
	}
	return from
}

// addSignals gives every signal its default action, except those that are ignored, which execve(2)
// leaves so too. A handler of the Go runtime must not run in a child.
func (s *script) addSignals() {
	for sig := uintptr(1); sig <= 64; sig++ {
		if sig != uintptr(unix.SIGKILL) && sig != uintptr(unix.SIGSTOP) && !s.isIgnored(sig) {
			s.add(false, unix.SYS_RT_SIGACTION, sig, pointer(&s.action), 0, maskSize)
		}
	}
}

// maskSize is that of the kernel's set of signals.
const maskSize = 8

// sigaction is what sigaction(2) needs at most; the handler comes first.
type sigaction [8]uintptr

func (s *script) isIgnored(sig uintptr) bool {
	_, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, pointer(&s.present), maskSize, 0, 0)
	const ignore = 1 // SIG_IGN
	return err == 0 && s.present[0] == ignore
}

// pointer returns the address of something on the heap that the caller keeps.
func pointer[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
