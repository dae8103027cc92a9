package grace

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// program is what successors execute, as it was when this process started.
type program struct {
	path    string
	args    []string // with the program's name first
	dir     string
	env     []string
	envFunc func(context.Context, []string) ([]string, error) // nil: env
	// opened was checked, for one upgrade; nil: whatever is at the path.
	opened *process.Executable
}

func newProgram(o options) (program, error) {
	p := program{path: o.executable, dir: o.dir, env: slices.Clone(os.Environ()), envFunc: o.env}
	if p.path == "" {
		path, err := executable()
		if err != nil {
			return program{}, fmt.Errorf(
				"grace: cannot tell what this process executes, use WithExecutable: %w", err)
		}
		p.path = path
	}
	if p.dir == "" {
		p.dir, _ = os.Getwd() // where it was removed, successors start where this process is
	}
	name := p.path
	if len(os.Args) > 0 {
		name = os.Args[0]
	}
	p.args = append([]string{name}, o.args...)
	return p, nil
}

// executable returns the path by which this process was started, so that a symbolic link in it is
// followed again at each upgrade. Where this path leads to another file, as when a supervisor has
// given this process another name, it is the path of the file.
func executable() (string, error) {
	self, err := os.Executable()
	if len(os.Args) == 0 {
		return self, err
	}
	named, lookErr := exec.LookPath(os.Args[0])
	if lookErr != nil || err == nil && !sameFile(named, self) {
		return self, err
	}
	return filepath.Abs(named)
}

// sameFile also accepts a named file where the one that we execute has been removed or replaced:
// the kernel then knows only the path that it had.
func sameFile(named, self string) bool {
	a, errA := os.Stat(named)
	b, errB := os.Stat(self)
	if errA != nil || errB != nil {
		return errA == nil
	}
	return os.SameFile(a, b)
}

// environment returns that of the next successor, without the announcements that only one process
// may read.
func (p program) environment(ctx context.Context) ([]string, error) {
	env := p.env
	if p.envFunc != nil {
		got := make(chan []string, 1)
		err := call(ctx, hookGrace, func(ctx context.Context) error {
			env, err := p.envFunc(ctx, slices.Clone(p.env))
			got <- env
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("WithEnv: %w", err)
		}
		env = <-got
	}
	return fds.StripEnv(env, handoff.EnvLink), nil
}

// open makes the file at the path, as it is now, the one that is started.
func (p *program) open() (err error) {
	p.opened, err = process.OpenExecutable(p.path)
	return err
}

// close closes what open has opened, if anything.
func (p *program) close() { _ = p.opened.Close() }
