package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
)

// A successor's health is asked for so often during its probation. On a busy machine an answer may
// take a while.
const (
	healthChecks  = 5
	healthTimeout = time.Second // at least
)

// errPassed ends a probation that the successor has passed.
var errPassed = errors.New("the probation is over")

// probe lets the successor accept connections beside this process, and watches it for a while. From
// here on it may have clients.
func (u *upgrade) probe(ctx context.Context) error {
	d := u.m.opts.probation
	if d == 0 {
		return nil
	}
	if err := u.child.link.Send(ctx, &handoff.Accept{Probation: d}); err != nil {
		return err
	}
	u.probation = true
	u.m.emit(ctx, graceevent.ProbationStarted{Timeout: d})
	start := time.Now()
	err := u.observe(ctx, d)
	u.m.emit(ctx, graceevent.ProbationFinished{Duration: time.Since(start), Err: err})
	return err
}

// observe returns nil if the probation passes without a complaint: the successor's, that of the
// health check, or the caller's.
func (u *upgrade) observe(ctx context.Context, d time.Duration) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { end(u.checkHealth(ctx, d)) }() // ends with ctx
	got, err := u.receive(ctx)
	if errors.Is(err, errPassed) {
		got, err = u.lastComplaint()
	}
	switch {
	case errors.Is(err, errPassed):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the successor has ended, or has closed its link, on probation: %w", err)
	case err != nil:
		return err
	default:
		return fmt.Errorf("%w: the successor sent %s on probation", ErrProtocol, handoff.Name(got))
	}
}

// lastComplaint returns what the successor has said by the end of its probation, or errPassed.
func (u *upgrade) lastComplaint() (handoff.Message, error) {
	ctx, cancel := context.WithDeadlineCause(context.Background(), time.Unix(1, 0), errPassed)
	defer cancel()
	return u.receive(ctx)
}

// checkHealth lasts as long as the probation, unless the successor is found ill. It returns
// errPassed or what is wrong.
func (u *upgrade) checkHealth(ctx context.Context, d time.Duration) error {
	for range healthChecks {
		next := time.After(d / healthChecks)
		if err := u.askHealth(ctx, max(d/healthChecks, healthTimeout)); err != nil {
			return fmt.Errorf("health check: %w", err)
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errPassed
}

// askHealth asks once; no answer in time is a bad one.
func (u *upgrade) askHealth(ctx context.Context, timeout time.Duration) error {
	check := u.m.opts.healthCheck
	if check == nil {
		return nil
	}
	ctx, cancel := wait.WithTimeout(ctx, timeout, context.DeadlineExceeded)
	defer cancel()
	successor := Process{PID: u.pid(), Generation: u.m.generation + 1}
	return call(ctx, 0, func(ctx context.Context) error { return check(ctx, successor) })
}
