package grace

import (
	"os"
	"os/signal"
	"sync"
)

// signals keeps what came from outside until Run takes it.
type signals struct {
	upgrade  chan os.Signal // one is enough: several in a row ask for one upgrade
	shutdown chan os.Signal // the first shutdown signal
	forced   chan struct{}  // closed at the second one, while Run runs

	raw     chan os.Signal
	stopped chan struct{}
	ended   chan struct{} // closed when relay has returned
	stop    sync.Once

	mu      sync.Mutex
	running bool                 // Run listens
	excused func(os.Signal) bool // reports whether a shutdown signal means something else; nil: none does
}

// claimSignals takes the signals from their default action, which for most of them is the end of the process.
func claimSignals(upgrade, shutdown []os.Signal) *signals {
	s := &signals{
		upgrade:  make(chan os.Signal, 1),
		shutdown: make(chan os.Signal, 1),
		forced:   make(chan struct{}),
		raw:      make(chan os.Signal, 2),
		stopped:  make(chan struct{}),
		ended:    make(chan struct{}),
	}
	if len(upgrade) > 0 {
		signal.Notify(s.upgrade, upgrade...)
	}
	if len(shutdown) == 0 {
		close(s.ended)
		return s
	}
	signal.Notify(s.raw, shutdown...)
	go s.relay() // ends with release
	return s
}

// relay passes the first shutdown signal on. The second one forces the end: Run returns at once; before Run, as in a start-up
// that hangs, the signal has its default action.
func (s *signals) relay() {
	defer close(s.ended)
	sig, ok := s.next()
	if !ok {
		return
	}
	s.shutdown <- sig
	if sig, ok = s.next(); !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		raiseDefault(sig)
		return
	}
	close(s.forced)
}

// next waits for a shutdown signal that is not excused. It is false after release.
func (s *signals) next() (os.Signal, bool) {
	for {
		select {
		case sig := <-s.raw:
			if !s.isExcused(sig) {
				return sig, true
			}
		case <-s.stopped:
			return nil, false
		}
	}
}

func (s *signals) isExcused(sig os.Signal) bool {
	s.mu.Lock()
	excused := s.excused
	s.mu.Unlock()
	return excused != nil && excused(sig)
}

// excuse sets what tells whether a shutdown signal means something else.
func (s *signals) excuse(excused func(os.Signal) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.excused = excused
}

// run says that Run takes the signals from now on.
func (s *signals) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = true
}

// release gives the shutdown signals their default action again. Those for upgrades stay claimed: one that comes late must not
// kill a process that is about to exit.
func (s *signals) release() {
	s.stop.Do(func() {
		signal.Stop(s.raw)
		close(s.stopped)
	})
	<-s.ended
}

// disclaim gives all signals their default action again.
func (s *signals) disclaim() {
	signal.Stop(s.upgrade)
	s.release()
}
