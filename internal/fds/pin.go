package fds

import (
	"errors"
	"sync"
	"syscall"
)

// Pin keeps the descriptor of a connection open until Release, even if its owner closes the
// connection: otherwise the kernel could use the number again while a child is started with it.
type Pin struct {
	fd      uintptr
	release func()
	ended   <-chan struct{} // closed when the goroutine has left RawConn.Control
}

// PinConn pins the descriptor of c. The caller must call Release: until then, Close of a connection
// of package net marks it as closed but waits for the Pin. If c is closed, the error is that of its
// RawConn.
func PinConn(c syscall.Conn) (*Pin, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	pinned, released, ended := make(chan uintptr, 1), make(chan struct{}), make(chan struct{})
	go func() { // ends at Release, or at once if c is closed
		defer close(ended)
		err = raw.Control(func(fd uintptr) {
			pinned <- fd
			<-released
		})
	}()
	select {
	case fd := <-pinned:
		return &Pin{fd: fd, release: sync.OnceFunc(func() { close(released) }), ended: ended}, nil
	case <-ended:
		if err == nil {
			err = errors.New("its RawConn does not lend the descriptor")
		}
		return nil, err
	}
}

// FD returns the pinned descriptor, which is valid until Release.
func (p *Pin) FD() uintptr { return p.fd }

// Release ends the Pin and returns when the owner alone decides about the descriptor again. It can
// be called more than once and from several goroutines.
func (p *Pin) Release() {
	p.release()
	<-p.ended
}
