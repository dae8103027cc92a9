//go:build unix

package gate

import (
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestGateHoldsUntilItOpens(t *testing.T) {
	forEachWay(t, func(t *testing.T, s *subject) {
		s.send()
		s.mustWait()
		must(t, s.SetDeadline(time.Time{}))
		result := s.wait()
		s.gate.Open()
		must(t, within(t, result))
	})
}

func TestShutGateNeverOpensAgain(t *testing.T) {
	forEachWay(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		s.shut()
		s.gate.Open()
		if s.gate.IsOpen() {
			t.Error("the gate has opened again")
		}
		s.send()
		s.mustWait()
		s.takeElsewhere()
	})
}

// Nothing leads from the first state to the last, but a call must not get through on the way.
func TestGateIsShutBeforeItHasOpened(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		result := s.wait()
		s.shut()
		s.gate.Open()
		s.send()
		s.takeElsewhere()
		must(t, s.Close())
		if err := within(t, result); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the wait ended with %v", err)
		}
	})
}

func TestShutInterruptsABlockedCall(t *testing.T) {
	forEachWay(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		result := s.block()
		s.shut()
		if n := s.waiter.calls.count.Load(); n != stopMark {
			t.Errorf("after Shut, %d calls are in the system", n-stopMark)
		}
		s.send()
		s.takeElsewhere()
		s.awaitWait() // so nothing has been returned
		must(t, s.Close())
		if err := within(t, result); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the caller has seen %v", err)
		}
	})
}

func TestCloseEndsAWait(t *testing.T) {
	for state, prepare := range map[string]func(*subject){
		"not yet open": func(*subject) {},
		"shut":         func(s *subject) { s.gate.Open(); s.shut() },
	} {
		t.Run(state, func(t *testing.T) {
			forEachWay(t, func(t *testing.T, s *subject) {
				prepare(s)
				result := s.wait()
				must(t, s.Close())
				if err := within(t, result); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the wait ended with %v", err)
				}
				if err := s.take(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a call after Close returned %v", err)
				}
			})
		})
	}
}

func TestCloseDuringShut(t *testing.T) {
	forEach(t, func(t *testing.T, first *subject) {
		for range 30 {
			s := newSubject(t, first.network, New())
			s.gate.Open()
			result := s.block()
			var closing sync.WaitGroup
			closing.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			s.shut()
			closing.Wait()
			if err := within(t, result); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("the call returned %v", err)
			}
			if n := len(s.gate.waiters); n > 0 {
				t.Fatal("the gate keeps a waiter whose socket is closed")
			}
		}
	})
}

func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		must(t, s.Close())
		for what, err := range map[string]error{
			"a call":      s.take(),
			"Close":       s.Close(),
			"SetDeadline": s.SetDeadline(time.Now()),
			"File":        func() error { _, err := s.File(); return err }(),
			"a raw read":  readRaw(s, make([]byte, 1)),
		} {
			refused := what == "a raw read" && s.isListener() // EINVAL, also of an open listener
			if !errors.Is(err, net.ErrClosed) && !refused {
				t.Errorf("of a closed socket, %s returned %v", what, err)
			}
		}
	})
}

func TestSocketsOfAShutGate(t *testing.T) {
	for network := range networks {
		t.Run(network, func(t *testing.T) {
			g := New()
			g.Open()
			must(t, g.Shut(t.Context()))
			s := newSubject(t, network, g)
			s.send()
			s.mustWait()
			s.takeElsewhere()
			s.shut()
		})
	}
}

func TestReleaseEndsWaits(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		result := s.wait()
		s.shut()
		must(t, s.sock.Close()) // unseen by the gate, as at the end of a drain
		s.gate.Release()
		later := newSubject(t, s.network, s.gate)
		for what, err := range map[string]error{
			"the wait":              within(t, result),
			"a later one":           s.take(),
			"one of a later socket": later.take(),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s ended with %v", what, err)
			}
		}
	})
}

// A method that this test does not know may take something without waiting.
func TestEveryMethodThatTakesWaits(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		for m := range reflect.TypeOf(s.gated).Methods() {
			takes := strings.HasPrefix(m.Name, "Read") || strings.HasPrefix(m.Name, "Accept")
			takes = takes && m.Type.NumOut() > 1 // unlike AcceptsPlainConns
			if takes && s.ways[m.Name] == nil {
				t.Errorf("%s is not among the methods that were tested", m.Name)
			}
		}
	})
}

func TestShutIsBoundedByItsContext(t *testing.T) {
	s := newSubject(t, "udp", New())
	s.gate.Open()
	raw, err := s.SyscallConn()
	must(t, err)
	inside, release := make(chan struct{}), make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		_ = raw.Read(func(uintptr) bool { close(inside); <-release; return true })
	})
	<-inside
	errTooLong := errors.New("too long")
	ctx, cancel := context.WithTimeoutCause(t.Context(), soon, errTooLong)
	defer cancel()
	err = s.gate.Shut(ctx)
	if !errors.Is(err, errTooLong) || !strings.Contains(err.Error(), s.sock.Addr().String()) {
		t.Errorf("while a call blocks a thread, Shut returned %v", err)
	}
	s.mustWait() // the gate is shut all the same
	close(release)
	s.shut()
	must(t, s.gate.Shut(ctx)) // with nothing to wait for, an ended context does no harm
	reading.Wait()
}

func TestPanicOfARawReadDoesNotHoldUpShut(t *testing.T) {
	s := newSubject(t, "udp", New())
	s.gate.Open()
	raw, err := s.SyscallConn()
	must(t, err)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_ = raw.Read(func(uintptr) bool { panic("as told") })
	}()
	s.shut()
}

func TestRawConnAfterShut(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		raw, err := s.SyscallConn()
		must(t, err)
		s.shut()
		passed := 0
		must(t, raw.Control(func(uintptr) { passed++ }))
		if !s.isListener() { // a listener of package net refuses it
			must(t, raw.Write(func(uintptr) bool { passed++; return true }))
			passed--
		}
		if passed != 1 {
			t.Error("Control or Write has done nothing")
		}
		must(t, s.SetDeadline(time.Now().Add(soon)))
		err = raw.Read(func(uintptr) bool { t.Error("a read is let through"); return true })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read returned %v", err)
		}
	})
}
