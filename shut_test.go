//go:build linux

package grace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/go-grace/grace/graceevent"
)

// From the return of Upgrade on, every new connection is the successor's, although the old process
// still has its listeners and goes on accepting from them.
func TestOldProcessAcceptsNothingAfterUpgrade(t *testing.T) {
	s := start(t, "lines", config{KeepOpen: true, MaxDraining: 10, Listen: []endpoint{
		{Network: "tcp", Address: "127.0.0.1:0"},
		{Network: "unix", Address: filepath.Join(t.TempDir(), "s")},
	}})
	l := startLoad(s)
	const upgrades, fresh = 5, 20
	var held []*client
	var old []int
	for generation := 1; generation <= upgrades; generation++ {
		c := s.dial() // keeps this generation draining
		defer c.Close()
		_, pid := s.serving()
		held, old = append(held, c), append(old, pid)
		if answer, err := c.ask("upgrade"); err != nil || !strings.HasPrefix(answer, "upgraded") {
			t.Fatal(answer, err)
		}
		for range fresh {
			for n := range s.config.Listen {
				s.mustReach(n, generation+1)
			}
		}
		s.AwaitReady(generation + 1)
	}
	l.end(t)
	for i, c := range held {
		want := fmt.Sprintf("who %d %d close", i+1, old[i])
		if answer, err := c.ask("who"); err != nil || answer != want {
			t.Errorf("generation %d no longer drains: %q, %v", i+1, answer, err)
		}
		c.Close()
		s.AwaitExit(old[i])
	}
}

// mustReach checks which generation answers a new connection to the nth endpoint.
func (s *service) mustReach(n, generation int) {
	s.t.Helper()
	c := s.dialTo(n)
	defer c.Close()
	answer, err := c.ask("who")
	if err != nil || !strings.HasPrefix(answer, fmt.Sprintf("who %d ", generation)) {
		s.t.Errorf("generation %d serves, and a new connection got %q, %v", generation, answer, err)
	}
}

// The gate is shut for a successor alone: a process that ends the service accepts until its
// listeners are closed.
func TestShutdownDoesNotShutTheGate(t *testing.T) {
	m := newTestManager(t)
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.Append(Hook{OnDrain: func(context.Context) error {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		in, err := ln.Accept()
		if err != nil {
			return err
		}
		return errors.Join(in.Close(), ln.Close())
	}})
	shutDown(t, m)
}

func TestGateIsShutWhenTheSuccessorServes(t *testing.T) {
	for name, c := range map[string]struct {
		script   func(*fakeSuccessor)
		isLegacy bool
		opens    bool // after the upgrade
	}{
		"it serves":                 {script: upright},
		"it serves, and is foreign": {script: silent, isLegacy: true},
		"it has failed":             {script: dying, opens: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.script = c.script
				upgrade := make(chan error, 1)
				go func() { upgrade <- r.Upgrade(t.Context()) }()
				synctest.Wait()
				if c.isLegacy {
					r.upgrade.Load().recognize()
				}
				if err := <-upgrade; (err != nil) != c.opens || isOpen(r.Manager) != c.opens {
					t.Errorf("Upgrade returned %v, gate open: %v", err, isOpen(r.Manager))
				}
				r.finish(t)
			})
		})
	}
}

// dying is a successor that ends at once.
func dying(f *fakeSuccessor) {
	f.die()
	f.hangUp()
}

// A read that blocks its thread cannot be interrupted. Upgrade does not wait for it forever.
func TestUpgradeIsNotHeldUpByARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		r := newRig(t, WithObserver(rec))
		pc, err := r.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := pc.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		r.Append(Hook{OnDrain: func(context.Context) error { close(release); return nil }})
		go func() { // ends with the drain
			_ = raw.Read(func(uintptr) bool { <-release; return true })
		}()
		synctest.Wait()
		if err := r.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		still := find[graceevent.StillAccepting](rec)
		if len(still) != 1 || !errors.Is(still[0].Err, ErrTimeout) {
			t.Errorf("events: %v", still)
		}
		r.finish(t)
	})
}
