//go:build linux

// Package scannertest makes the start of a program slow, for tests of what happens meanwhile.
package scannertest

import (
	"encoding/binary"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Scanner has the kernel wait with the execution of a program until the test allows that, as a virus
// scanner does: see fanotify(7).
type Scanner struct {
	Asked <-chan struct{} // closed when the first process is about to execute the program

	events *os.File
	allow  chan struct{}
	once   sync.Once
}

// Scan begins to watch a program. The test is skipped without the right to do so, unless
// GRACE_REQUIRE_FANOTIFY is set. At the end of the test everything is allowed.
func Scan(t testing.TB, path string) *Scanner {
	t.Helper()
	fd, err := watch(path)
	if err != nil && os.Getenv("GRACE_REQUIRE_FANOTIFY") == "" {
		t.Skipf("the start of a program cannot be delayed here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	asked, ended := make(chan struct{}), make(chan struct{})
	s := &Scanner{Asked: asked, events: os.NewFile(uintptr(fd), "fanotify"), allow: make(chan struct{})}
	go func() { // ends with the test
		defer close(ended)
		s.answer(asked)
	}()
	t.Cleanup(func() {
		s.Allow()
		_ = s.events.Close()
		<-ended
	})
	return s
}

func watch(path string) (int, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, path)
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// Allow lets the program be executed, now and later.
func (s *Scanner) Allow() { s.once.Do(func() { close(s.allow) }) }

// answer answers all questions, once that is allowed.
func (s *Scanner) answer(asked chan<- struct{}) {
	event := make([]byte, 24) // struct fanotify_event_metadata
	for first := true; ; first = false {
		if _, err := s.events.Read(event); err != nil {
			return
		}
		if first {
			close(asked)
		}
		<-s.allow
		file := binary.NativeEndian.Uint32(event[16:])
		response := binary.NativeEndian.AppendUint32(nil, file)
		response = binary.NativeEndian.AppendUint32(response, unix.FAN_ALLOW)
		_, _ = s.events.Write(response)
		_ = unix.Close(int(file))
	}
}
