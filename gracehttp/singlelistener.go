package gracehttp

import (
	"net"
	"sync"
)

// singleListener returns one connection, or none. After that, Accept waits until the listener is
// closed or another event happens.
type singleListener struct {
	conn   net.Conn
	until  <-chan struct{} // the other event; nil if there is none
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	taken bool
}

func newSingleListener(c net.Conn, until <-chan struct{}) *singleListener {
	return &singleListener{conn: c, taken: c == nil, until: until, closed: make(chan struct{})}
}

func (l *singleListener) Accept() (net.Conn, error) {
	if l.take() {
		return l.conn, nil
	}
	select {
	case <-l.until:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

// take reports whether the connection is for the caller.
func (l *singleListener) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.taken
	l.taken = true
	return !taken
}

func (l *singleListener) isTaken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

func (l *singleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *singleListener) Addr() net.Addr { return singleAddr{} }

type singleAddr struct{}

func (singleAddr) Network() string { return "single" }
func (singleAddr) String() string  { return "single" }
