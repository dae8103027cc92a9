package gracehttp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// wrap returns the connection for http.Server, in a form that can be handed over between two
// requests if possible.
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

// tcpConn has the methods of a *net.TCPConn, among them ReadFrom for sendfile(2), except where
// handover replaces them.
type tcpConn struct {
	handover
	tcpMethods
}

// unixConn has those of a *net.UnixConn.
type unixConn struct {
	handover
	unixMethods
}

// These are one level deeper than handover, so the methods of handover win.
type (
	tcpMethods  struct{ *net.TCPConn }
	unixMethods struct{ *net.UnixConn }
)

// inner is a connection of package net.
type inner interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

// handover is a connection that is handed to the successor when it is between two requests and the
// server drains.
type handover struct {
	inner    inner
	listener *listener
	rule     idleRule
	idleTracker
	http1 atomic.Bool  // it has had a request of HTTP/1; before, it may be a connection of HTTP/2
	heard atomic.Int64 // when something last arrived in the drain; nanoseconds after its begin
}

// errHandedOver ends the work of http.Server on a connection. It is a *net.OpError of a read:
// http.Server would send a response after other errors.
var errHandedOver = &net.OpError{
	Op: "read", Err: errors.New("the connection was handed to the next process"),
}

// itself returns the handover in a connection.
func (h *handover) itself() *handover { return h }

// wake interrupts the wait for a request, so that the connection learns of the drain. It reports
// false if the connection does not wait.
func (h *handover) wake() bool { return h.interrupt(h.inner.SetReadDeadline) }

// mayLeave reports whether the connection will be handed over when it is idle.
func (h *handover) mayLeave() bool {
	return h != nil && h.http1.Load() && !h.stays.Load() &&
		h.listener.server.transfers.hasSuccessor.Load()
}

// isLeaving reports whether the connection is being handed over, or is about to be: it stays open
// until the successor has answered.
func (h *handover) isLeaving() bool {
	if h == nil {
		return false
	}
	switch h.now() {
	case woken, leaving, gone:
		return true
	}
	return false
}

// lastHeard returns when something last arrived in the drain, or when the drain began: a request
// may have begun that http.Server does not report yet.
func (h *handover) lastHeard() time.Time {
	if h == nil {
		return time.Time{}
	}
	return h.listener.server.began.Add(time.Duration(h.heard.Load()))
}

// Read reads. If it waits for the next request, it hands the connection over as soon as the server
// drains.
func (h *handover) Read(b []byte) (int, error) {
	n, err := h.read(b)
	if n > 0 && h.listener.server.isDraining() {
		h.heard.Store(int64(time.Since(h.listener.server.began)))
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

// readNext waits for the next request. The connection may leave before the wait, and when the drain
// interrupts it.
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

// afterWake continues after the drain has interrupted a Read, which has returned n and err.
func (h *handover) afterWake(n int, err error) (again bool, _ error) {
	defer h.listener.server.transfers.freeSlot()
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || h.expired() { // too late
		h.resume(busy, h.inner.SetReadDeadline)
		return false, err
	}
	if h.mayLeave() && h.handOver(woken) {
		return false, errHandedOver
	}
	h.resume(waiting, h.inner.SetReadDeadline)
	return true, nil
}

// handOver offers the connection to the successor. If the successor refuses it, the connection goes
// back to waiting.
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

// CloseRead closes the direction from the client: such a connection stays here.
func (h *handover) CloseRead() error {
	h.stays.Store(true)
	return h.inner.CloseRead()
}

// CloseWrite closes the direction to the client: such a connection stays here too.
func (h *handover) CloseWrite() error {
	h.stays.Store(true)
	return h.inner.CloseWrite()
}
