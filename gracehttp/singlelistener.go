package gracehttp

import (
	"net"
	"sync"
)

// singleListener has one connection, or none. After that, Accept waits until the listener is closed, or another event.
type singleListener struct {
	conn   net.Conn
	until  <-chan struct{} // nil if there is no other event
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	given bool
}

func newSingleListener(c net.Conn, until <-chan struct{}) *singleListener {
	return &singleListener{conn: c, given: c == nil, until: until, closed: make(chan struct{})}
}

func (l *singleListener) Accept() (net.Conn, error) {
	if l.give() {
		return l.conn, nil
	}
	select {
	case <-l.until:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

func (l *singleListener) give() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	given := l.given
	l.given = true
	return !given
}

func (l *singleListener) isGiven() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.given
}

func (l *singleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *singleListener) Addr() net.Addr { return singleAddr{} }

type singleAddr struct{}

func (singleAddr) Network() string { return "single" }
func (singleAddr) String() string  { return "single" }
