package generation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wiring"
)

// How long an older generation may take beyond what it was granted.
const (
	OverdueGrace = 5 * time.Second // after its drain timeout
	LeaveTimeout = 5 * time.Second // after it was told to leave
	TermTimeout  = 5 * time.Second // from SIGTERM to SIGKILL
	KillTimeout  = 5 * time.Second // from SIGKILL to the end
)

// Evict ends a generation that is in the way: it is told to leave, and killed if it does not.
func (s *Set) Evict(ctx context.Context, o *Older, reason error) error {
	wiring.Say(o.Link, &handoff.Leave{Reason: reason.Error()})
	if o.GoneWithin(ctx, LeaveTimeout) {
		return nil
	}
	if err := s.kill(ctx, o, reason); err != nil {
		return fmt.Errorf("generation %d (process %d) stays: %w", o.Generation, o.PID, err)
	}
	return nil
}

// kill ends a generation by SIGTERM, and then by SIGKILL, unless the owner objects. It returns nil
// when the process is gone.
func (s *Set) kill(ctx context.Context, o *Older, reason error) error {
	select {
	case o.killing <- struct{}{}: // MayKill may take long, and may end ctx
		defer func() { <-o.killing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !o.Lives() {
		return nil
	}
	if err := s.owner.MayKill(ctx, o.Process); err != nil {
		return fmt.Errorf("%w, but an OnParentKill hook objects: %w", reason, err)
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, TermTimeout}, {syscall.SIGKILL, KillTimeout}} {
		if err := s.Signal(ctx, o, step.signal); err != nil {
			return fmt.Errorf("%w, but it cannot be signalled: %w", reason, err)
		}
		if o.GoneWithin(ctx, step.wait) {
			return nil
		}
	}
	return fmt.Errorf("%w, and it has not ended %v after SIGKILL", reason, KillTimeout)
}

// Signal sends a signal to a generation. A process that is gone is not an error.
func (s *Set) Signal(ctx context.Context, o *Older, sig syscall.Signal) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := o.Watch.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	o.signaled.Store(int64(sig))
	s.owner.Emit(ctx, graceevent.AncestorSignalled{Process: o.Process, Signal: sig})
	return nil
}
