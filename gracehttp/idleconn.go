package gracehttp

import (
	"errors"
	"maps"
	"net"
	"net/http"
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
	deadline time.Time // for the first byte; zero if there is none
	limit    time.Time // for the first header; zero if there is none
	newlines int       // how many bytes of empty lines are still to be ignored

	listener *listener
	shown    net.Conn // what http.Server gets
	raw      syscall.RawConn

	mu    sync.Mutex
	woken bool // by the drain
	left  bool // it no longer waits
}

// hold keeps a connection until something arrives. It reports false if it cannot.
func (l *listener) hold(c *idleConn) bool {
	c.listener, c.raw = l, rawOf(c.Conn)
	if c.raw == nil {
		return false
	}
	if !l.keep(c) {
		return false
	}
	c.show(http.StateNew)
	go func() { // ends with the first byte, the connection, its deadline or the drain
		defer l.sources.Done()
		c.wait()
	}()
	return true
}

// keep notes a connection that is held. It reports false if it is too late for that.
func (l *listener) keep(c *idleConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return false
	}
	c.shown = l.wrap(c.Conn)
	_ = c.SetReadDeadline(c.deadline) // a dead connection reports that soon
	l.idle[c] = struct{}{}
	l.sources.Add(1)
	return true
}

// show tells the owner's ConnState of the connection: a server that bounds the number of its
// connections counts them there. With TLS the owner's connection is another one, which does not
// exist before http.Server makes it.
func (c *idleConn) show(state http.ConnState) {
	if c.isShown() {
		c.listener.server.ownConnState(c.shown, state)
	}
}

func (c *idleConn) isShown() bool {
	return c.listener.server.ownConnState != nil && !c.listener.secure
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
		c.show(http.StateClosed)
		return
	}
	arrivals := &l.server.arrivals
	arrivals.add(c.shown, arrival{shown: c.isShown(), limit: c.limit})
	if !l.deliver(accepted{conn: c.shown}) {
		arrivals.take(c.shown)
		c.show(http.StateClosed)
	}
}

// await reports whether the connection is for http.Server: a request arrives, or the successor does
// not take the connection.
func (c *idleConn) await() bool {
	for {
		first, err := peek(c.raw)
		switch {
		case err == nil && c.newlines > 0 && (first == '\r' || first == '\n'):
			c.newlines--
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

// maxNewlines is how many bytes of empty lines may come before a request that is not the first one.
// Some clients send an empty line after a body. http.Server, which ignores as many, does so only if
// it has read that body.
const maxNewlines = 4

// longAgo is a deadline that interrupts a Read.
var longAgo = time.Unix(1, 0)

func isPast(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }
