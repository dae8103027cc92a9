package gracehttp

import (
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// idleConn is a connection without a byte of a request: a new one, or an idle one of the previous
// process. http.Server gets it when the first byte arrives.
type idleConn struct {
	net.Conn
	listener *listener
	raw      syscall.RawConn
	deadline time.Time // for the first byte; zero if there is none

	mu    sync.Mutex
	woken bool // by the drain
	left  bool // it no longer waits
}

// hold keeps a connection until something arrives. It reports false if it cannot.
func (l *listener) hold(nc net.Conn, deadline time.Time) bool {
	raw := rawOf(nc)
	if raw == nil {
		return false
	}
	c := &idleConn{Conn: nc, listener: l, raw: raw, deadline: deadline}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return false
	}
	_ = c.SetReadDeadline(deadline) // a dead connection reports that soon
	l.idle[c] = struct{}{}
	l.sources.Go(c.wait) // ends with the first byte, the connection, its deadline or the drain
	return true
}

// rawOf returns the raw descriptor of a plain net connection, or nil: a wrapper may buffer data of
// its own.
func rawOf(c net.Conn) syscall.RawConn {
	switch c := c.(type) {
	case *net.TCPConn:
		return rawIfPeekable(c)
	case *net.UnixConn:
		return rawIfPeekable(c)
	}
	return nil
}

func rawIfPeekable(c syscall.Conn) syscall.RawConn {
	raw, err := c.SyscallConn()
	if err != nil || !canPeek {
		return nil
	}
	return raw
}

// stopHolding makes hold refuse connections, and returns those held so far.
func (l *listener) stopHolding() []*idleConn {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	return l.idleConns()
}

func (l *listener) idleConns() []*idleConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.idle))
}

// wait waits for the first byte, and delivers the connection to http.Server or closes it.
func (c *idleConn) wait() {
	l := c.listener
	stays := c.await()
	c.settle()
	l.mu.Lock()
	delete(l.idle, c)
	l.mu.Unlock()
	if !stays {
		_ = c.Close()
		return
	}
	l.deliver(accepted{conn: l.wrap(c.Conn)})
}

// await reports whether the connection is for http.Server: a request arrives, or the successor does
// not take the connection.
func (c *idleConn) await() bool {
	for {
		first, err := peek(c.raw)
		switch {
		case err == nil && (first == '\r' || first == '\n'):
			// Some clients send an empty line after a body. http.Server ignores it only if it has
			// read that body.
			_, _ = c.Read(make([]byte, 1))
		case err == nil:
			return true
		case !errors.Is(err, os.ErrDeadlineExceeded) || isPast(c.deadline):
			c.listener.server.conns.noteEnd()
			return false
		default: // woken: it is its turn
			return !c.listener.handOver(c.Conn, c.deadline)
		}
	}
}

// wake interrupts the wait, so that the connection learns of the drain. It reports false if the
// connection no longer waits, or is awake already.
func (c *idleConn) wake() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left || c.woken {
		return false
	}
	c.woken = true
	_ = c.SetReadDeadline(longAgo)
	return true
}

// settle undoes wake.
func (c *idleConn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	_ = c.SetReadDeadline(time.Time{})
	if c.woken {
		c.listener.server.transfers.freeSlot()
	}
}

// longAgo is a deadline that interrupts a Read.
var longAgo = time.Unix(1, 0)

func isPast(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }
