package grace

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/passed"
	"github.com/go-grace/grace/internal/transfer"
)

// Errors to match with [errors.Is].
var (
	// ErrManagerExists is returned by New if this process has a Manager that was not shut down.
	ErrManagerExists = errors.New("grace: this process has a Manager already: shut it down first")

	// ErrNotReady is returned by Upgrade before Ready has returned nil.
	ErrNotReady = errors.New("grace: this process is not ready yet: call Ready or Run first")

	// ErrUpgradeInProgress is returned by Upgrade while another one runs.
	ErrUpgradeInProgress = errors.New("grace: an upgrade is in progress")

	// ErrTooManyDraining is matched by the error of Upgrade if as many older generations still
	// drain as [WithMaxDraining] allows.
	ErrTooManyDraining = errors.New("grace: too many generations are draining")

	// ErrCommitted is matched by the error of Fail in a process that serves alone.
	ErrCommitted = errors.New("grace: nobody can take the service back from this process")

	// ErrUpgraded is returned by the functions that need a serving process, once a successor serves
	// instead. It matches [net.ErrClosed] too.
	ErrUpgraded = fds.ErrHandedOver

	// ErrShutdown is returned by the functions that need a serving process, once Shutdown was
	// called, and is the cause of an upgrade that Shutdown has cancelled. It matches
	// [net.ErrClosed] too.
	ErrShutdown = fds.ErrClosed

	// ErrAborted is matched by the error of Ready in a successor that the old process does not
	// want, because its upgrade was cancelled, timed out or is cut short by a shutdown. The process
	// must exit; the old one keeps serving.
	ErrAborted = errors.New("grace: the old process has aborted the handoff")

	// ErrForced is returned by Run when a second shutdown signal cut the drain short.
	ErrForced = errors.New("grace: a second signal cut the drain short")

	// ErrTimeout is the cause of an upgrade whose successor was not ready within the upgrade
	// timeout, and of what a successor waits for in vain. It matches [context.DeadlineExceeded]
	// too.
	ErrTimeout error = timeoutError{}

	// ErrNoSuccessor is matched by the error of Transfer if no process can take the connection:
	// this one serves, or stops without a successor, or its drain is over; or the successor has
	// ended or does not answer. Except on Linux, every Transfer fails with it.
	ErrNoSuccessor = transfer.ErrNoSuccessor

	// ErrRefused is matched by the error of Transfer if the new process refused the connection,
	// because it has no function for the name or no free descriptor, for example. It also refuses a
	// connection that its client has reset: the next Read or Write of the old process fails, after
	// what was left to read.
	ErrRefused = transfer.ErrRefused

	// ErrNotInherited is matched by the errors of InheritedFile and InheritedState about a name
	// that the parent has not passed, or that this process no longer has.
	ErrNotInherited = passed.ErrNotInherited

	// ErrWrongKind is matched by the error of a Listen function that finds its socket among the
	// inherited ones, but of another kind: a connected socket, or a datagram socket where a stream
	// was asked for.
	ErrWrongKind = fds.ErrWrongKind

	// ErrAmbiguous is matched by the error of a Listen function if several inherited sockets match
	// and their options differ, but nothing says which of them is meant: see WithListenConfig.
	ErrAmbiguous = fds.ErrAmbiguous

	// ErrEnvironment is matched by the error of New if LISTEN_FDS, one of its relatives or GRACE_LINK,
	// by which an old process starts its successor, does not tell the truth.
	ErrEnvironment = fds.ErrEnvironment

	// ErrProtocol is matched by errors about a message that the other process should not have sent.
	ErrProtocol = handoff.ErrProtocol
)

type timeoutError struct{}

func (timeoutError) Error() string        { return "grace: the upgrade has timed out" }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout is that of [net.Error] and [context.DeadlineExceeded].
func (timeoutError) Timeout() bool { return true }

// Step is a part of an upgrade.
type Step string

// The steps of an upgrade, in their order.
const (
	StepRoom      Step = "room" // for another draining generation
	StepHooks     Step = "OnUpgrade hooks"
	StepCheck     Step = "check"     // of the new process's program, see WithCheck
	StepState     Step = "state"     // of the application is encoded
	StepStart     Step = "start"     // of the new process
	StepReady     Step = "ready"     // the new process starts up
	StepProbation Step = "probation" // both processes accept connections
	StepCommit    Step = "commit"    // the new process takes over
)

// UpgradeError is the error of an upgrade that has failed. The process keeps serving as before, and
// may try again.
type UpgradeError struct {
	// Step is what failed.
	Step Step
	// PID is the successor's, or 0 if none was started. The process has ended, unless Err says that
	// it could not be killed.
	PID int
	// State says how the successor ended, as [os.ProcessState] does: "exit status 1", "signal:
	// killed".
	State string
	// Err is the cause. It matches the cause of the context if that has ended.
	Err error
}

// Error implements error.
func (e *UpgradeError) Error() string {
	s := fmt.Sprintf("grace: upgrade failed at %s: %v", e.Step, e.Err)
	if e.PID != 0 {
		s += fmt.Sprintf(" (successor %d: %s)", e.PID, e.State)
	}
	return s
}

// Unwrap returns the cause.
func (e *UpgradeError) Unwrap() error { return e.Err }
