// Package signals claims the signals that upgrade and end a service, from the start of its process
// until somebody acts on them.
package signals

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Signals keeps the claimed signals until Run takes them.
type Signals struct {
	// Upgrade has room for one signal: several in a row ask for one upgrade.
	Upgrade chan os.Signal
	// Shutdown gets the first shutdown signal.
	Shutdown chan os.Signal
	// Forced is closed at the second shutdown signal, once somebody listens.
	Forced chan struct{}

	upgrade, shutdown []os.Signal // that are to be claimed
	terminal          terminal    // see Hangup

	mu        sync.Mutex
	relay     *relay // nil while the shutdown signals are not claimed
	claimed   bool   // all signals are
	over      bool   // nobody acts on them any longer
	listening bool
	excused   func(os.Signal) bool // nil: none is
}

// relay passes shutdown signals on.
type relay struct {
	raw     chan os.Signal
	stopped chan struct{}
	ended   chan struct{} // closed when run has returned
}

// Defaults returns those of the signals that this process was not started to ignore, as nohup(1)
// has it ignore SIGHUP. Go can tell of SIGHUP and SIGINT alone.
func Defaults(all []os.Signal) []os.Signal {
	return slices.DeleteFunc(slices.Clone(all), signal.Ignored)
}

// Claim takes signals from their default action, which for most of them is the end of the process.
func Claim(upgrade, shutdown []os.Signal) *Signals {
	s := &Signals{
		Upgrade:  make(chan os.Signal, 1),
		Shutdown: make(chan os.Signal, 1),
		Forced:   make(chan struct{}),
		upgrade:  upgrade,
		shutdown: shutdown,
		terminal: findTerminal(),
	}
	s.claim()
	return s
}

// last is the latest claim of this process.
var last atomic.Pointer[Signals]

// claim begins to catch the signals; mu is held, or nobody else has s.
func (s *Signals) claim() {
	s.claimed = true
	if before := last.Swap(s); before != nil && before != s && before.isOver() {
		signal.Stop(before.Upgrade)
	}
	if len(s.upgrade) > 0 {
		signal.Notify(s.Upgrade, s.upgrade...)
	}
	if len(s.shutdown) == 0 {
		return
	}
	s.relay = &relay{
		raw: make(chan os.Signal, 2), stopped: make(chan struct{}), ended: make(chan struct{}),
	}
	signal.Notify(s.relay.raw, s.shutdown...)
	go s.run(s.relay) // ends with ReleaseShutdown
}

// run passes the first shutdown signal on. The second one forces the end: Manager.Run returns at
// once; before that, as in a start-up that hangs, the signal has its default action.
func (s *Signals) run(r *relay) {
	defer close(r.ended)
	sig, ok := s.next(r)
	if !ok {
		return
	}
	s.Shutdown <- sig
	if sig, ok = s.next(r); !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.listening {
		raiseDefault(sig)
		return
	}
	close(s.Forced)
}

// next waits for a shutdown signal that is not excused. It reports false after ReleaseShutdown.
func (s *Signals) next(r *relay) (os.Signal, bool) {
	for {
		select {
		case sig := <-r.raw:
			if !s.isExcused(sig) {
				return sig, true
			}
		case <-r.stopped:
			return nil, false
		}
	}
}

func (s *Signals) isExcused(sig os.Signal) bool {
	s.mu.Lock()
	excused := s.excused
	s.mu.Unlock()
	return excused != nil && excused(sig)
}

// Excuse sets the function that reports whether a shutdown signal means something else, and then
// deals with it.
func (s *Signals) Excuse(excused func(os.Signal) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.excused = excused
}

// Listen says that somebody acts on the signals from now on. It claims them again if they were
// released.
func (s *Signals) Listen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = true
	if !s.claimed {
		s.claim()
	}
}

// Hangup says what the kernel means by a SIGHUP.
type Hangup int

// The kinds of signals.
const (
	NoHangup       Hangup = iota // somebody has sent the signal
	TerminalClosed               // the terminal whose session this process leads has closed
	LeaderExited                 // the terminal, or the process that led its session, is gone
)

// terminal is the part of this process in the session of a terminal.
type terminal int

const (
	noTerminal terminal = iota // or in the background: the kernel sends it nothing
	foreground
	leader
)

// hangupTime is how long the kernel may take from SIGHUP to the end of the terminal: at the exit of
// a session's leader it sends the signal first.
const hangupTime = 100 * time.Millisecond

// Hangup tells a SIGHUP of the kernel from a request. The kernel sends one, when a terminal closes,
// to the process that leads its session, and when that process exits, to those in the foreground
// (setsid(2), tty_ioctl(4)). So the first SIGHUP after the end of the terminal is the kernel's, and
// the next one somebody's.
func (s *Signals) Hangup(sig os.Signal) Hangup {
	was := s.terminal
	if sig != syscall.SIGHUP || was == noTerminal {
		return NoHangup
	}
	for end := time.Now().Add(hangupTime); hasTerminal(); time.Sleep(hangupTime / 20) {
		if time.Now().After(end) {
			return NoHangup
		}
	}
	s.terminal = noTerminal
	if was == leader {
		return TerminalClosed
	}
	return LeaderExited
}

// ReleaseShutdown restores the default action of the shutdown signals. Those for upgrades stay
// claimed until the next claim: one that comes late must not kill a process that is about to exit.
func (s *Signals) ReleaseShutdown() {
	s.endRelay()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

func (s *Signals) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// endRelay returns the signals that the relay had not looked at.
func (s *Signals) endRelay() <-chan os.Signal {
	s.mu.Lock()
	r := s.relay
	s.relay = nil
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	signal.Stop(r.raw)
	close(r.stopped)
	<-r.ended
	return r.raw
}

// Release restores the default action of all signals, and returns those that were claimed until
// now; it does nothing if somebody acts on them. A signal that has come, and that nobody has acted
// on, comes again: now the program's own signal.Notify, or the default action, has it.
func (s *Signals) Release() []os.Signal {
	s.mu.Lock()
	claimed := s.claimed && !s.listening
	if claimed {
		s.claimed = false
	}
	s.mu.Unlock()
	if !claimed {
		return nil
	}
	signal.Stop(s.Upgrade)
	raw := s.endRelay()
	for _, pending := range []<-chan os.Signal{s.Upgrade, s.Shutdown, raw} {
		for range len(pending) {
			raise(<-pending)
		}
	}
	return slices.Concat(s.upgrade, s.shutdown)
}

// Discard restores the default action of all signals, and drops those that have come.
func (s *Signals) Discard() {
	signal.Stop(s.Upgrade)
	s.endRelay()
}
