package fds

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// dialAll connects many clients.
func dialAll(t *testing.T, address string) {
	t.Helper()
	for range 40 {
		c, err := net.Dial("tcp", address)
		must(t, err)
		t.Cleanup(func() { c.Close() })
	}
}

// acceptAll accepts every client that waits, and returns their number.
func acceptAll(t *testing.T, sock *Socket) (n int) {
	t.Helper()
	ln := sock.Conn().(*net.TCPListener)
	must(t, ln.SetDeadline(time.Now().Add(200*time.Millisecond)))
	for {
		c, err := ln.Accept()
		if err != nil {
			return n
		}
		n++
		must(t, c.Close())
	}
}

// A new member of a group takes no client from the old process until it begins to accept.
func TestNewMemberOfAGroupWaits(t *testing.T) {
	for _, address := range []string{freeAddress(), "localhost:0", ":0", "[::1]:0", "0.0.0.0:0"} {
		t.Run(address, func(t *testing.T) {
			ask := Ask{Network: "tcp", Address: address, Config: setting()}
			old := newSet(t)
			serving, err := old.Open(t.Context(), ask)
			if errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Skip("this machine lacks the address:", err)
			}
			must(t, err)
			ask.Address = serving.Addr().String()
			next := newSet(t)
			next.DeferListening()
			member := openAsk(t, next, ask)
			if member.Addr().String() != ask.Address {
				t.Fatalf("the member has the address %s, want %s", member.Addr(), ask.Address)
			}
			dialAll(t, ask.Address)
			if n := acceptAll(t, serving); n != 40 {
				t.Errorf("the old process has got %d of 40 clients", n)
			}
			next.StartListening()
			dialAll(t, ask.Address)
			here, there := acceptAll(t, serving), acceptAll(t, member)
			if here == 0 || there == 0 || here+there != 40 {
				t.Errorf("then the old process got %d of 40 clients, and the new one %d", here, there)
			}
		})
	}
}

// The process may begin to accept while a member is opened.
func TestMemberIsOpenedMeanwhile(t *testing.T) {
	s := newSet(t)
	s.DeferListening()
	ask := Ask{Network: "tcp", Address: freeAddress()}
	ask.Config = setting(func(int) error {
		s.StartListening()
		return nil
	})
	sock := openAsk(t, s, ask)
	if !reaches(t, sock.Addr()) {
		t.Error("the listener does not listen")
	}
}

// The errors of a port that is taken stay those of package net.
func TestDeferredListenerOnATakenPort(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	s := newSet(t)
	s.DeferListening()
	_, err := s.Open(t.Context(),
		Ask{Network: "tcp", Address: ln.Addr().String(), Config: setting()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
}
