//go:build linux

package grace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// transferServer is a lineServer that transfers its connections while it drains: each of them
// between two lines, with what has come of the next one. It keeps serving those that it cannot
// transfer.
type transferServer struct {
	*lineServer

	guard   sync.Mutex
	conns   map[net.Conn]bool // whether each stays until its client says "move"
	leaving bool
}

func transferMain(c config) error {
	m, err := New(c.options()...)
	if err != nil {
		return err
	}
	s := &transferServer{conns: map[net.Conn]bool{}}
	s.lineServer = &lineServer{
		m: m, config: c, listeners: map[string]net.Listener{},
		talk: func(c net.Conn) { s.converse(c, nil) },
	}
	if c.mode() != "no-handler" {
		stop, err := m.HandleTransfers("lines", s.take)
		if err != nil {
			return err
		}
		if c.mode() == "stop-handler" {
			stop()
		}
	}
	for _, e := range c.Listen {
		if err := s.listen(e); err != nil {
			return err
		}
	}
	m.Append(Hook{Name: "lines", OnReady: s.getReady, OnDrain: s.leave})
	return m.Run(context.Background())
}

func (s *transferServer) getReady(ctx context.Context) error {
	if free, limited := strings.CutPrefix(s.config.mode(), "nofile "); limited {
		return limitFiles(free, false)
	}
	return s.misbehave(ctx)
}

// take serves a connection of an older process.
func (s *transferServer) take(c net.Conn, state []byte) {
	s.tell("Took", string(state), nil)
	s.converse(c, state)
}

func (s *transferServer) tell(event, detail string, err error) {
	p := printed{Event: event, Generation: s.m.generation, PID: os.Getpid(), Detail: detail}
	if err != nil {
		p.Err = err.Error()
	}
	say(p)
}

// past ends a Read.
var past = time.Unix(1, 0)

// converse answers the lines of a connection. The pending bytes were read before.
func (s *transferServer) converse(c net.Conn, pending []byte) {
	defer c.Close()
	s.add(c)
	defer s.remove(c)
	chunk := make([]byte, 100)
	for {
		if line, rest, whole := bytes.Cut(pending, []byte("\n")); whole {
			pending = rest
			if _, err := fmt.Fprintln(c, s.reply(c, string(line))); err != nil {
				return
			}
			continue
		}
		n, err := c.Read(chunk)
		pending = append(pending, chunk[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = c.SetReadDeadline(time.Time{})
			err := s.m.Transfer(context.Background(), "lines", c.(syscall.Conn), pending)
			if err == nil {
				return
			}
			s.tell("Kept", "", err)
		case err != nil:
			return
		}
	}
}

func (s *transferServer) add(c net.Conn) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.conns[c] = false
	if s.leaving {
		_ = c.SetReadDeadline(past)
	}
}

func (s *transferServer) remove(c net.Conn) {
	s.guard.Lock()
	defer s.guard.Unlock()
	delete(s.conns, c)
}

// stay makes a connection stay in this process, or move as soon as it can.
func (s *transferServer) stay(c net.Conn, stays bool) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.conns[c] = stays
	if s.leaving && !stays {
		_ = c.SetReadDeadline(past)
	}
}

func (s *transferServer) reply(c net.Conn, line string) string {
	switch line {
	case "stay", "move":
		s.stay(c, line == "stay")
	case "tune":
		return tune(c.(*net.TCPConn))
	case "tuning":
		return tuning(c)
	case "transfer":
		return fmt.Sprint(s.m.Transfer(context.Background(), "lines", c.(syscall.Conn), nil))
	}
	return s.answer(c, line)
}

// tune sets options that differ from those of package net.
func tune(c *net.TCPConn) string {
	config := net.KeepAliveConfig{
		Enable: true, Idle: 77 * time.Second, Interval: 7 * time.Second, Count: 2,
	}
	return fmt.Sprint(errors.Join(c.SetNoDelay(false), c.SetKeepAliveConfig(config)))
}

func tuning(c net.Conn) (answer string) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err.Error()
	}
	_ = raw.Control(func(fd uintptr) {
		status, _ := unix.FcntlInt(fd, unix.F_GETFL, 0)
		flags, _ := unix.FcntlInt(fd, unix.F_GETFD, 0)
		noDelay, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY)
		answer = fmt.Sprintf("nonblock=%v cloexec=%v nodelay=%d ",
			status&unix.O_NONBLOCK != 0, flags&unix.FD_CLOEXEC != 0, noDelay)
	})
	return answer + keepAlive(c)
}

// leave is the drain. In some modes it kills one of the processes once all connections that do not
// stay are offered.
func (s *transferServer) leave(ctx context.Context) error {
	mode := s.config.mode()
	successor := s.m.Status().Successor
	if successor == nil {
		mode = ""
	}
	if strings.HasSuffix(mode, "-while-silent") {
		if err := stopParent(successor.PID); err != nil { // it is a child, but stops like one
			return err
		}
	}
	offered := s.interrupt()
	switch mode {
	case "kill-old-while-silent":
		awaitOffers(ctx, successor.PID, offered)
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "kill-new-while-silent":
		awaitOffers(ctx, successor.PID, offered)
		_ = unix.Kill(successor.PID, unix.SIGKILL)
	}
	return s.drain(ctx)
}

// interrupt makes the connections move that do not stay, and counts them.
func (s *transferServer) interrupt() (n int) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.leaving = true
	for c, stays := range s.conns {
		if !stays {
			n++
			_ = c.SetReadDeadline(past)
		}
	}
	return n
}

// awaitOffers waits until a process that reads nothing is offered n connections.
func awaitOffers(ctx context.Context, pid, n int) {
	for queuedDescriptors(pid) < n && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// queuedDescriptors counts the descriptors that were sent to a process over its unix sockets, and
// not yet received.
func queuedDescriptors(pid int) (n int) {
	dir := fmt.Sprintf("/proc/%d/fdinfo/", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, _ := os.ReadFile(dir + e.Name())
		if _, rest, ok := strings.Cut(string(info), "scm_fds:"); ok {
			queued := 0
			_, _ = fmt.Sscan(rest, &queued)
			n += queued
		}
	}
	return n
}
