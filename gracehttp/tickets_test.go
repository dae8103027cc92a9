//go:build unix

package gracehttp_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/test/httpload"
)

// The keys of the example rotate: a ticket is good for two to three days.
func TestTicketKeysOfTheExampleRotate(t *testing.T) {
	certFile, keyFile, _, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		config, drain := &tls.Config{Certificates: []tls.Certificate{cert}}, make(chan struct{})
		k := new(ticketKeys)
		k.rotate(config)
		go k.keepRotating(config, drain) // ends with drain
		defer close(drain)

		early, late := newTLSClient(), newTLSClient()
		early.check(t, config, false)
		late.check(t, config, false)
		time.Sleep(maxKeys*keyRotation - time.Minute)
		early.check(t, config, true)
		time.Sleep(2 * time.Minute)
		late.check(t, config, false)
		early.check(t, config, true) // it has a newer ticket
	})
}

// tlsClient is the configuration of a client, with the session to resume.
type tlsClient tls.Config

func newTLSClient() *tlsClient {
	return &tlsClient{
		InsecureSkipVerify: true, // #nosec G402 -- the certificate is not what is tested
		ServerName:         "test",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
}

// check connects, and reports an error unless the session is resumed or not, as expected. The
// connection is a real one, which does not let the fake time pass: with [net.Pipe], both sides of
// TLS would wait for the other one to read.
func (c *tlsClient) check(t *testing.T, server *tls.Config, resumed bool) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() { served <- greet(ln) }() // ends with the connection
	conn, err := tls.Dial("tcp", ln.Addr().String(), (*tls.Config)(c))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.ReadAll(conn) // the ticket too
	if err := errors.Join(err, <-served); err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().DidResume; got != resumed {
		t.Errorf("resumed: %v", got)
	}
}

// greet greets one client.
func greet(ln net.Listener) error {
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, "hello")
	return errors.Join(err, c.Close())
}
