package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func openExecutable(path string) (*Executable, error) {
	// O_NONBLOCK: a FIFO would wait for a writer
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &Executable{file: f, lookUp: f.Stat}, nil
}

// checkStartable finds a path at which others can read the file. It returns an error if the file
// cannot be executed by its descriptor.
func (e *Executable) checkStartable(path string) error {
	magic := make([]byte, 2)
	if _, err := e.file.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(magic) == "#!" {
		return fmt.Errorf("%s is a script: its interpreter would open it again, and perhaps "+
			"find another file than the one that was checked; check and start a binary", path)
	}
	// The link has the number of this process in this /proc. Programs that it starts can use the
	// path too.
	self, err := os.Readlink("/proc/self")
	if err == nil {
		e.path = descriptorPath(self, int(e.file.Fd()))
		err = e.reachable()
	}
	if err != nil {
		return fmt.Errorf("%s cannot be executed by its descriptor, as a program that was checked "+
			"must be: is /proc mounted? %w", path, err)
	}
	return nil
}

// reachable returns an error unless e.path leads to the file. It does not if /proc is an ordinary
// directory.
func (e *Executable) reachable() error {
	found, err := os.Stat(e.path)
	if err == nil && !os.SameFile(found, e.info) {
		err = fmt.Errorf("%s is another file", e.path)
	}
	return err
}

func descriptorPath(process string, fd int) string {
	return "/proc/" + process + "/fd/" + strconv.Itoa(fd)
}

// place returns where a child that is started with the given descriptors finds the program.
//
// The descriptor is close-on-exec. The kernel closes it after it has opened the program, so the
// child does not get it.
func (e *Executable) place(files []uintptr) (placed, error) {
	first := untouched(files)
	fd, err := unix.FcntlInt(e.file.Fd(), unix.F_DUPFD_CLOEXEC, first)
	if err != nil {
		return placed{}, fmt.Errorf("the program that was checked needs a descriptor from %d on: "+
			"raise the limit on open files (RLIMIT_NOFILE): %w", first, err)
	}
	return placed{
		path: descriptorPath("self", fd), keep: []uintptr{uintptr(fd)},
		release: func() { _ = unix.Close(fd) },
	}, nil
}

// untouched returns a number from which on a start leaves descriptors as they are.
// syscall.StartProcess puts the given ones in their places. Before that it moves those that are in the way,
// and its own pipe, to numbers above all of them.
func untouched(files []uintptr) int {
	top, moved := len(files), 1
	for i, file := range files {
		fd := int(file) // -1: the child has none in this place
		top = max(top, fd)
		if fd >= 0 && fd < i {
			moved++
		}
	}
	return top + 1 + moved + 1 // it may skip one, the number of its pipe
}
