package fds

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// carrier is a file that shows inherited sockets to package net, one after another: package net
// takes a socket from a file alone, and a file for each would be registered with the poller of the
// runtime and taken out again at once, which costs a third of the take-over.
type carrier struct {
	mu    sync.Mutex
	file  *os.File // in blocking mode, so that it is not registered; nil if it is not open
	empty int      // what the file shows in between
	ended bool
}

// show calls f with a file that has the descriptor. It reports false if it cannot.
func (c *carrier) show(fd int, f func(*os.File)) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.file == nil && !c.open() {
		return false
	}
	number := int(c.file.Fd())
	if unix.Dup3(fd, number, unix.O_CLOEXEC) != nil {
		return false
	}
	f(c.file)
	_ = unix.Dup3(c.empty, number, unix.O_CLOEXEC) // else it would keep the socket open
	return true
}

func (c *carrier) open() bool {
	var ends [2]int
	if unix.Pipe2(ends[:], unix.O_CLOEXEC) != nil {
		return false
	}
	c.file, c.empty = os.NewFile(uintptr(ends[0]), "inherited socket"), ends[1]
	return true
}

// close ends the use of the carrier.
func (c *carrier) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.file != nil {
		_, _ = c.file.Close(), unix.Close(c.empty)
		c.file = nil
	}
}
