package closed

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
)

func TestListener(t *testing.T) {
	mux := errors.New("mux: server closed")
	for _, err := range []error{
		net.ErrClosed,
		http.ErrServerClosed,
		mux,
		fmt.Errorf("gracehttp: serve :80: %w", mux),
		errors.New("mux: listener closed"),
		errors.New("grpc: the server has been stopped"),
		errors.New("quic: server closed"),
		errors.New("ssh: Server closed"),
		errors.New("smtp: server already closed"),
		errors.New("udp: listener closed"),
		errors.New("listener is closed"),
		errors.New("accept tcp [::]:80: use of closed network connection"),
		errors.Join(net.ErrClosed, mux),
		fmt.Errorf("%w and %w", net.ErrClosed, mux),
		acceptError(t),
		readError(t),
		closeError(t),
	} {
		if !Listener(err) {
			t.Errorf("%v is taken for a failure", err)
		}
	}
}

// What is lost with a connection, or fails for another reason, stays an error.
func TestFailures(t *testing.T) {
	flush := errors.New("flush: the disk is full")
	for _, err := range []error{
		nil,
		flush,
		errors.Join(net.ErrClosed, flush),
		fmt.Errorf("%w: %w", flush, http.ErrServerClosed),
		withoutCauses("2 messages are lost"),
		fmt.Errorf("flush: %w", connError(t)),
		fmt.Errorf("flush: %s", connError(t)), // as libraries do
		&net.OpError{Op: "accept", Net: "tcp", Err: os.ErrDeadlineExceeded},
		&net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed},
		os.ErrClosed,
		io.ErrClosedPipe,
		errors.New("sql: database is closed"),
		errors.New("redis: client is closed"),
		errors.New("observer closed"),
		errors.New("server is closed"), // the client of MongoDB
		errors.New("server closed the connection unexpectedly"),
		errors.New("write tcp 10.0.0.1:5432: use of closed network connection"),
	} {
		if Listener(err) {
			t.Errorf("%v counts as the end of a listener", err)
		}
	}
}

// withoutCauses is an error that could have causes, such as one of a validation.
type withoutCauses string

func (e withoutCauses) Error() string   { return string(e) }
func (e withoutCauses) Unwrap() []error { return nil }

func acceptError(t *testing.T) error {
	ln := listen(t)
	ln.Close()
	_, err := ln.Accept()
	return err
}

func closeError(t *testing.T) error {
	ln := listen(t)
	ln.Close()
	return ln.Close()
}

func readError(t *testing.T) error {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	_, _, err = c.ReadFrom(nil)
	return err
}

func connError(t *testing.T) error {
	ln := listen(t)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	_, err = c.Read(nil)
	return err
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}
