package gracehttp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// wrap gives http.Server a connection, in a way in which it can be handed over between two requests.
func (l *listener) wrap(c net.Conn) net.Conn {
	rule := l.server.rule()
	if rule == nil || l.secure {
		return c
	}
	switch c := c.(type) {
	case *net.TCPConn:
		return &tcpConn{handover{inner: c, listener: l, rule: rule}, tcpMethods{c}}
	case *net.UnixConn:
		return &unixConn{handover{inner: c, listener: l, rule: rule}, unixMethods{c}}
	}
	return c
}

// tcpConn has the methods of a *net.TCPConn, ReadFrom for sendfile(2) among them, except for those of handover.
type tcpConn struct {
	handover
	tcpMethods
}

type unixConn struct {
	handover
	unixMethods
}

// These are one level deeper than handover, whose methods are therefore preferred.
type (
	tcpMethods  struct{ *net.TCPConn }
	unixMethods struct{ *net.UnixConn }
)

// inner is what package net has made.
type inner interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// handover is a connection that is handed to the successor when it is between two requests and the server drains.
type handover struct {
	inner    inner
	listener *listener
	rule     idleRule
	idleTracker
	http1 atomic.Bool  // its handler was called with a request of HTTP/1; until then it may be one of HTTP/2
	heard atomic.Int64 // when something has come, in the drain; nanoseconds since 1970
}

// errHandedOver ends http.Server's work on a connection. It is a *net.OpError of a read: to others it would answer.
var errHandedOver = &net.OpError{Op: "read", Err: errors.New("the connection was handed to the next process")}

// itself finds the handover in a connection.
func (h *handover) itself() *handover { return h }

// wake has a connection that waits for a request find out about the drain. It reports false if there was no need.
func (h *handover) wake() bool { return h.interrupt(h.inner.SetReadDeadline) }

// mayLeave reports whether the connection will be handed over when it is idle.
func (h *handover) mayLeave() bool {
	return h != nil && h.http1.Load() && !h.stays.Load() && h.listener.server.transfers.hasSuccessor.Load()
}

// lastHeard is when something has come, if that was in the drain: a request may be on its way of which http.Server does not tell yet.
func (h *handover) lastHeard() time.Time {
	if h == nil {
		return time.Time{}
	}
	return time.Unix(0, h.heard.Load())
}

// Read reads. If it is for the next request, it hands the connection over as soon as the server drains.
func (h *handover) Read(b []byte) (int, error) {
	n, err := h.read(b)
	if n > 0 && h.listener.server.isDraining() {
		h.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (h *handover) read(b []byte) (int, error) {
	if h.enter(len(b), h.rule) {
		return h.readNext(b)
	}
	n, err := h.inner.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		h.stays.Store(true)
	}
	return n, err
}

// readNext waits for the next request. The connection may leave before, and whenever the drain interrupts it.
func (h *handover) readNext(b []byte) (int, error) {
	if h.listener.server.isDraining() && h.mayLeave() && h.handOver(waiting) {
		return 0, errHandedOver
	}
	n, err := h.inner.Read(b)
	if h.change(waiting, busy) {
		return n, err
	}
	again, err := h.afterWake(n, err)
	if again {
		return h.readNext(b)
	}
	return n, err
}

// afterWake goes on after the drain has interrupted a Read, which has returned n and err.
func (h *handover) afterWake(n int, err error) (again bool, _ error) {
	defer h.listener.server.transfers.freeSlot()
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || h.expired() { // it came too late
		h.resume(busy, h.inner.SetReadDeadline)
		return false, err
	}
	if h.mayLeave() && h.handOver(woken) {
		return false, errHandedOver
	}
	h.resume(waiting, h.inner.SetReadDeadline)
	return true, nil
}

// handOver offers the connection to the successor. If that does not take it, it is as it was.
func (h *handover) handOver(from phase) bool {
	deadline, ok := h.leave(from)
	if !ok {
		return false
	}
	if h.listener.handOver(h.inner, deadline) {
		h.phase.Store(uint32(gone))
		return true
	}
	h.stays.Store(true)
	h.resume(waiting, h.inner.SetReadDeadline)
	return false
}

// SetReadDeadline sets the deadline of reads.
func (h *handover) SetReadDeadline(t time.Time) error {
	return h.setDeadline(t, h.inner.SetReadDeadline)
}

// SetDeadline sets both deadlines.
func (h *handover) SetDeadline(t time.Time) error {
	return errors.Join(h.SetReadDeadline(t), h.inner.SetWriteDeadline(t))
}

// CloseRead closes one direction: such a connection stays here.
func (h *handover) CloseRead() error {
	h.stays.Store(true)
	return h.inner.CloseRead()
}

// CloseWrite closes the other one.
func (h *handover) CloseWrite() error {
	h.stays.Store(true)
	return h.inner.CloseWrite()
}
