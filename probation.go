package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-grace/grace/internal/handoff"
)

// A successor's health is asked for so often during its probation. On a busy machine an answer may take a while.
const (
	healthChecks  = 5
	healthTimeout = time.Second // at least
)

// errPassed ends a probation that the successor has passed.
var errPassed = errors.New("the probation is over")

// probe lets the successor accept connections beside this process, and watches it for a while. From here on it may have clients.
func (a *attempt) probe(ctx context.Context) error {
	d := a.m.opts.probation
	if d == 0 {
		return nil
	}
	if err := a.succ.link.Send(ctx, &handoff.Accept{Probation: d}); err != nil {
		return err
	}
	a.onTrial = true
	a.m.emit(ProbationStarted{Timeout: d})
	start := time.Now()
	err := a.observe(ctx, d)
	a.m.emit(ProbationFinished{Duration: time.Since(start), Err: err})
	return err
}

// observe returns nil if the probation passes without a complaint: the successor's, that of the health check, or the caller's.
func (a *attempt) observe(ctx context.Context, d time.Duration) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { end(a.checkHealth(ctx, d)) }() // ends with ctx
	switch got, err := a.receive(ctx); {
	case errors.Is(err, errPassed):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the successor has ended, or has closed its connection, while it was on probation: %w", err)
	case err != nil:
		return err
	default:
		return fmt.Errorf("%w: the successor sent %s while it was on probation", ErrProtocol, handoff.Name(got))
	}
}

// checkHealth lasts as long as the probation, unless the successor is found ill. It returns errPassed or what is wrong.
func (a *attempt) checkHealth(ctx context.Context, d time.Duration) error {
	for range healthChecks {
		next := time.After(d / healthChecks)
		if err := a.askHealth(ctx, max(d/healthChecks, healthTimeout)); err != nil {
			return fmt.Errorf("health check: %w", err)
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
	return errPassed
}

// askHealth asks once; no answer in time is a bad one.
func (a *attempt) askHealth(ctx context.Context, timeout time.Duration) error {
	check := a.m.opts.healthCheck
	if check == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- check(ctx, Process{PID: a.pid(), Generation: a.m.generation + 1}) }() // ends with check
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
}
