//go:build linux

package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/wiring"
)

// ownerMain is a service that calls Ready and Wait, and not Run: it owns its signals.
func ownerMain(c config) error {
	m, err := New(append(c.options(), WithUpgradeSignals(syscall.SIGUSR2))...)
	if err != nil {
		return err
	}
	if _, err := New(); !errors.Is(err, ErrManagerExists) {
		return fmt.Errorf("a second New returned %w", err)
	}
	if c.mode() == "early-terminate" {
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	}
	ctx := context.Background()
	if c.mode() != "no-handler" {
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}
	if _, err := m.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	if err := m.Ready(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if c.mode() == "no-handler" {
		time.Sleep(patience) // SIGTERM ends this process before
	}
	<-ctx.Done()
	say(printed{Event: "OwnSignal", PID: os.Getpid()})
	if err := m.Shutdown(context.Background()); err != nil {
		return err
	}
	again, err := New(c.options()...) // the first one is shut down
	if err != nil {
		return err
	}
	return again.Shutdown(context.Background())
}

func TestProgramThatCallsReadyOwnsItsSignals(t *testing.T) {
	t.Run("caught", func(t *testing.T) {
		s := start(t, "owner", tcpOnly)
		released := s.Await("the release", finished("SignalsReleased", 0))
		if !strings.Contains(released.Detail, "user defined signal 2") || !strings.Contains(released.Detail, "terminated") {
			t.Errorf("released: %s", released.Detail)
		}
		s.signal(released.PID, unix.SIGTERM)
		s.Await("its own handler", finished("OwnSignal", released.PID))
		s.AwaitExit(released.PID)
	})
	t.Run("came early", func(t *testing.T) {
		s := launch(t, "owner", withMode(t, "early-terminate"))
		own := s.Await("its own handler", finished("OwnSignal", 0))
		s.AwaitExit(own.PID)
	})
	t.Run("default action", func(t *testing.T) {
		s := start(t, "owner", withMode(t, "no-handler"))
		released := s.Await("the release", finished("SignalsReleased", 0))
		s.signal(released.PID, unix.SIGTERM)
		s.AwaitExit(released.PID)
		if s.count(finished("DrainStarted", released.PID)) > 0 {
			t.Error("it was caught")
		}
	})
}

// A program may ask by Ready, beside Run, when it serves: the signals stay Run's.
func TestReadyBesideRunLeavesTheSignals(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	_, pid := s.serving()
	if answer := s.ask("ready"); answer != "<nil>" {
		t.Errorf("Ready returned %s", answer)
	}
	s.signal(pid, unix.SIGTERM)
	s.AwaitExit(pid)
	if s.count(finished("DrainFinished", pid)) != 1 || s.count(finished("SignalsReleased", pid)) > 0 {
		t.Error("SIGTERM has ended the process without a drain")
	}
}

// Managers of other wirings, as tests have them, do not count.
func TestSecondManager(t *testing.T) {
	first, err := New(WithUpgradeSignals(), WithShutdownSignals())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LISTEN_FDS", "not for the second") // which must not touch the environment
	if _, err := New(); !errors.Is(err, ErrManagerExists) {
		t.Errorf("the second New returned %v", err)
	}
	if os.Getenv("LISTEN_FDS") == "" {
		t.Error("the second New has removed a variable")
	}
	_ = os.Unsetenv("LISTEN_FDS")
	newTestManager(t)
	if err := first.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := New(WithDrainTimeout(-1)); err == nil || errors.Is(err, ErrManagerExists) {
		t.Errorf("New with a wrong option returned %v", err)
	}
	third, err := New(WithUpgradeSignals(), WithShutdownSignals())
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// What an application reads from its contexts reaches its observers.
func TestEventsHaveTheContextOfTheCall(t *testing.T) {
	type key struct{}
	var with, without []string
	obs := graceevent.ObserverFunc(func(ctx context.Context, r graceevent.Record) {
		name := strings.TrimPrefix(fmt.Sprintf("%T", r.Event), "graceevent.")
		if ctx.Value(key{}) == "trace" {
			with = append(with, name)
		} else {
			without = append(without, name)
		}
	})
	wires := wiring.Processes()
	wires.Launch = func(context.Context, wiring.Launch) (wiring.Child, wiring.Link, error) { return nil, nil, errWhy }
	m, err := New(WithUpgradeSignals(), WithShutdownSignals(), WithObserver(obs), withWiring(wires))
	if err != nil {
		t.Fatal(err)
	}
	hook := func(context.Context) error { return nil }
	m.Append(Hook{OnReady: hook, OnUpgrade: hook, OnUpgradeFailed: func(context.Context, error) error { return nil }})
	ctx := context.WithValue(t.Context(), key{}, "trace")
	if _, err := m.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Upgrade(ctx); !errors.Is(err, errWhy) {
		t.Fatalf("Upgrade returned %v", err)
	}
	if want := []string{"Inherited"}; !slices.Equal(without, want) {
		t.Errorf("events without the context of a call: %v", without)
	}
	want := []string{
		"SocketOpened", "ReadyStarted", "HookStarted", "HookFinished", "ReadyFinished",
		"UpgradeStarted", "HookStarted", "HookFinished", "HookStarted", "HookFinished", "UpgradeFinished",
	}
	if !slices.Equal(with, want) {
		t.Errorf("events with it: %v", with)
	}
	if err := m.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
