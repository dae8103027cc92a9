package grace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-grace/grace/internal/process"
)

// WithCheck has a function look at the program of each successor before it is started, for example at its signature; the
// error of the function fails the upgrade, at [StepCheck]. It runs in the old process, after the OnUpgrade hooks and within the
// upgrade timeout, and is left behind if it has not returned a second after that.
//
// The path that it gets is for reading the program, during the call. What was checked is what is started:
//
//   - On Linux the program is opened once. The path leads to that open file, also for other programs that are called with it,
//     and that very file is executed, whatever has taken its name meanwhile. [path/filepath.EvalSymlinks] gives the name that
//     it has in the file system. The program has to be readable and cannot be a script, and /proc has to be mounted.
//   - Elsewhere a program can be executed by its path alone, and the path is what the function gets. If another file takes
//     its name between the check and the start, the upgrade fails, but the other program may have begun to run; and it is not
//     noticed at all if the old file is back at once.
//
// A program that is written to while it is checked fails the upgrade. Its size and its time of modification tell, so someone
// who can write to it and set its time back can deceive the check: new programs should belong to another user than the
// service's. By default nothing is checked.
func WithCheck(check func(ctx context.Context, path string) error) Option {
	return newOption("WithCheck", func(o *options) error {
		if check == nil {
			return errors.New("the function is nil")
		}
		o.check = check
		return nil
	})
}

// check opens the program, so that nothing else is started, and has the application look at it.
func (a *attempt) check(ctx context.Context) error {
	check := a.m.opts.check
	if check == nil {
		return nil
	}
	a.m.emit(CheckStarted{Executable: a.program.path})
	start := time.Now()
	err := a.program.open()
	if err == nil {
		path := a.program.opened.Path()
		err = callWithin(ctx, func(ctx context.Context) error { return check(ctx, path) })
	}
	if err != nil {
		err = fmt.Errorf("check of %s: %w", a.program.path, withCause(ctx, err))
	}
	a.m.emit(CheckFinished{Executable: a.program.path, Duration: time.Since(start), Err: err})
	return err
}

// withCause adds why the context has ended to what a function says that was interrupted by it.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// open makes the file at the path, as it is now, the one that is started.
func (p *program) open() (err error) {
	p.opened, err = process.OpenExecutable(p.path)
	return err
}

// close closes what open has opened, if anything.
func (p *program) close() { _ = p.opened.Close() }
