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

// parked is a connection on which nothing of a request has come yet: a fresh one, or an idle one of the previous process.
// http.Server gets it with the first byte.
type parked struct {
	net.Conn
	listener *listener
	raw      syscall.RawConn
	deadline time.Time // for the first byte; zero if there is none

	mu    sync.Mutex
	woken bool // by the drain
	left  bool // it waits no more
}

// park keeps a connection until something comes. It reports false if it cannot.
func (l *listener) park(c net.Conn, deadline time.Time) bool {
	raw := rawOf(c)
	if raw == nil {
		return false
	}
	p := &parked{Conn: c, listener: l, raw: raw, deadline: deadline}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return false
	}
	_ = p.SetReadDeadline(deadline) // a connection that is gone says so soon
	l.lot[p] = struct{}{}
	l.sources.Go(p.wait) // ends with the first byte, the connection, its deadline or the drain
	return true
}

// rawOf gives the descriptor of what package net has made, and nil for all else: that may be more than its descriptor.
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

// endParking keeps no more connections than it gives.
func (l *listener) endParking() []*parked {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	return l.parked()
}

func (l *listener) parked() []*parked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.lot))
}

func (p *parked) wait() {
	l := p.listener
	stays := p.await()
	p.settle()
	l.mu.Lock()
	delete(l.lot, p)
	l.mu.Unlock()
	if !stays {
		_ = p.Close()
		return
	}
	l.deliver(accepted{conn: l.wrap(p.Conn)})
}

// await reports whether the connection is for http.Server: a request comes, or the successor does not take it.
func (p *parked) await() bool {
	for {
		first, err := peek(p.raw)
		switch {
		case err == nil && (first == '\r' || first == '\n'):
			// Some clients send an empty line after a body, which http.Server ignores only if it has seen the body.
			_, _ = p.Read(make([]byte, 1))
		case err == nil:
			return true
		case !errors.Is(err, os.ErrDeadlineExceeded) || isPast(p.deadline):
			p.listener.server.conns.end()
			return false
		default: // wake: it is its turn
			return !p.listener.handOver(p.Conn, p.deadline)
		}
	}
}

// wake has a connection that waits find out about the drain. It reports false if there was no need.
func (p *parked) wake() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return false
	}
	p.woken = true
	_ = p.SetReadDeadline(longAgo)
	return true
}

// settle undoes wake.
func (p *parked) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	_ = p.SetReadDeadline(time.Time{})
	if p.woken {
		p.listener.server.handing.leave()
	}
}

// longAgo is a deadline that interrupts a Read.
var longAgo = time.Unix(1, 0)

func isPast(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }
