//go:build linux

package gracehttp

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/test/servicetest"
)

// passBare measures what is hard to avoid: one process sends its connections to another, each in a
// message of its own, and closes each when a byte comes in answer. The other calls net.FileConn
// before it sends the byte.
func passBare(b *testing.B, n int) said {
	b.Helper()
	s := servicetest.StartJSON[said](b, servicetest.Command(config{Conns: n, Bare: true}))
	addr := s.Await("address", func(l said) bool { return l.Name == "plain" }).Addr
	var conns []*connection
	for range n {
		conns = append(conns, dial(b, "tcp", addr))
	}
	defer func() { hangUp(conns) }()
	done := s.Await("the hand-over", func(l said) bool { return l.What == "handed over" })
	if err := s.AwaitEnd(); err != nil {
		b.Fatal(err)
	}
	return done
}

// serveBare is one of the processes of passBare: the receiver if it has inherited a link.
func (c config) serveBare() error {
	if link, err := net.FileConn(os.NewFile(fds.First, "link")); err == nil {
		return receiveBare(link.(*net.UnixConn))
	}
	conns, err := c.acceptBare()
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	link, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	receiver := servicetest.Command(c)
	receiver.Stderr, receiver.ExtraFiles = os.Stderr, []*os.File{theirs}
	if err := errors.Join(receiver.Start(), theirs.Close(), ours.Close()); err != nil {
		return err
	}
	return sendBare(link.(*net.UnixConn), conns, receiver)
}

func (c config) acceptBare() ([]*net.TCPConn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	say(said{What: "SocketOpened", Name: "plain", Addr: ln.Addr().String()})
	conns := make([]*net.TCPConn, c.Conns)
	for i := range conns {
		accepted, err := ln.Accept()
		if err != nil {
			return nil, err
		}
		conns[i] = accepted.(*net.TCPConn)
	}
	return conns, nil
}

func sendBare(link *net.UnixConn, conns []*net.TCPConn, receiver *exec.Cmd) error {
	b := make([]byte, 1)
	if _, err := link.Read(b); err != nil { // the receiver has started
		return err
	}
	began, spent := time.Now(), cpu(unix.RUSAGE_SELF)
	answered := make(chan error)
	go func() { answered <- awaitBare(link, conns) }() // ends with the last answer
	for _, c := range conns {
		err := fds.Control(c, func(fd int) error {
			_, _, err := link.WriteMsgUnix(b, unix.UnixRights(fd), nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	err := <-answered
	took, spent := time.Since(began), cpu(unix.RUSAGE_SELF)-spent
	err = errors.Join(err, link.Close(), receiver.Wait())
	spent += cpu(unix.RUSAGE_CHILDREN)
	say(said{What: "handed over", Duration: took, CPU: spent})
	return err
}

// awaitBare closes each connection when the answer for it arrives.
func awaitBare(link *net.UnixConn, conns []*net.TCPConn) error {
	for _, c := range conns {
		_, err := link.Read(make([]byte, 1))
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

func receiveBare(link *net.UnixConn) error {
	b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for {
		if _, err := link.Write(b); err != nil {
			return err
		}
		_, n, _, _, err := link.ReadMsgUnix(b, rights)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c, err := connOfRights(rights[:n])
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
}

func connOfRights(rights []byte) (net.Conn, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	numbers, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(numbers[0]), "connection")
	defer f.Close()
	return net.FileConn(f)
}
