package generation

import (
	"context"
	"errors"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

var (
	// errOverdue is why a generation is ended that has drained for too long.
	errOverdue = errors.New("its drain timeout has passed")
	// errGivenBack ends the following of a parent that keeps serving: it is not overdue.
	errGivenBack = errors.New("the parent keeps serving")
)

// follow hears a generation out, and ends it when it is overdue.
func (s *Set) follow(ctx context.Context, o *Older) {
	bounded, cancel := wait.WithTimeout(ctx, time.Until(o.Due), errOverdue)
	defer cancel()
	last, err := s.awaitEnd(bounded, o, nil)
	if errors.Is(err, errOverdue) {
		if err := s.kill(ctx, o, errOverdue); err != nil {
			s.owner.Emit(ctx, graceevent.AncestorStays{Process: o.Process, Err: err})
		}
		last, err = s.awaitEnd(ctx, o, last)
	}
	if err != nil {
		if last != nil {
			_ = o.Link.Unread(last) // for who follows it next
		}
		return
	}
	exit := o.exit(ctx, last)
	s.forget(o)
	s.owner.Exited(ctx, o, exit)
}

// awaitEnd waits until the process is gone, and returns its report, if it has sent one now or
// before. When ctx ends it returns the cause.
func (s *Set) awaitEnd(
	ctx context.Context, o *Older, last *handoff.Drained,
) (*handoff.Drained, error) {
	for range wiring.MaxIgnored {
		msg, err := wiring.Hear(ctx, o.Link)
		if err != nil && ctx.Err() != nil {
			return last, context.Cause(ctx)
		}
		if err != nil {
			break // there is nothing more to hear
		}
		switch msg := msg.(type) {
		case *handoff.Drained:
			last = msg
		case *handoff.Abort: // it has waited too long for Serving
			s.owner.GivenBack(ctx, msg.Reason)
			return nil, errGivenBack
		}
	}
	select {
	case <-o.Watch.Gone():
		return last, nil
	case <-ctx.Done():
	}
	if wait.IsClosed(o.Watch.Gone()) { // this process was stopped, and looks late
		return last, nil
	}
	return last, context.Cause(ctx)
}
