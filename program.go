package grace

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/privilege"
	"github.com/go-grace/grace/internal/process"
)

// program is what successors execute, as it was when this process started. Its strings are copies:
// those of package os are in memory that programs overwrite to change their title.
type program struct {
	path    string
	guarded bool     // the path is executed only if no other user can turn it
	unknown error    // why a privileged process does not know what it executes
	args    []string // with the program's name first
	dir     string
	dirInfo os.FileInfo                                       // of dir; nil if it was gone
	env     []string                                          // of the first generation
	envFunc func(context.Context, []string) ([]string, error) // nil: env
	notices []graceevent.Event                                // for the observers
	// opened was checked, for one upgrade; nil: whatever is at the path.
	opened *process.Executable
}

// remember notes how this process was started.
func (p *program) remember(o options) error {
	p.path, p.dir, p.env, p.envFunc = o.executable, o.dir, cloneAll(os.Environ()), o.env
	if privilege.Elevated() {
		p.env = privilege.Harmless(p.env)
	}
	if p.path == "" {
		privileged := privilege.Elevated() || privilege.Delegated(p.env)
		if err := p.choosePath(os.Args, privileged); err != nil {
			return err
		}
	}
	if p.dir != "" {
		p.dirInfo, _ = os.Stat(p.dir)
	} else {
		dir, _ := os.Getwd() // where it was removed, successors start where this process is
		p.dir = strings.Clone(dir)
		p.dirInfo, _ = presentDir()
	}
	p.args = append([]string{p.name(os.Args, o.dir != "")}, o.args...)
	return nil
}

// name returns the name of successors, which is that of this process. In another directory a
// relative path would lead elsewhere.
func (p *program) name(args []string, otherDir bool) string {
	if len(args) == 0 || otherDir && !filepath.IsAbs(args[0]) && filepath.Base(args[0]) != args[0] {
		return p.path
	}
	return strings.Clone(args[0])
}

func cloneAll(list []string) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = strings.Clone(s)
	}
	return all
}

// presentDir returns what the directory of this process is.
func presentDir() (os.FileInfo, error) {
	if info, err := os.Stat("."); err == nil {
		return info, nil
	}
	return os.Stat("/proc/self/cwd") // needs no right to search it
}

// startDir returns the directory to which a successor changes, "" for that of this process. A
// process keeps its directory when that is removed, renamed, unmounted or closed to it.
func (p program) startDir() (string, error) {
	here, err := presentDir()
	isHere := func(info os.FileInfo) bool {
		return err == nil && info != nil && os.SameFile(here, info)
	}
	now, nowErr := os.Stat(p.dir + "/.") // where it can be entered
	switch {
	case p.dir == "" || nowErr == nil && isHere(now) || nowErr != nil && isHere(p.dirInfo):
		return "", nil
	case nowErr != nil:
		return "", fmt.Errorf("the directory in which successors start is gone, and this process "+
			"has changed to another: restore it, or set one by WithDir: %w", nowErr)
	}
	return p.dir, nil
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
	for _, entry := range env {
		if strings.ContainsRune(entry, 0) {
			name, _, _ := strings.Cut(entry, "=")
			return nil, fmt.Errorf("the variable %q for the successor has a zero byte", name)
		}
	}
	return withoutAnnouncements(lastOfEach(env)), nil
}

func withoutAnnouncements(env []string) []string { return fds.StripEnv(env, handoff.EnvLink) }

// lastOfEach returns the last entry of each variable, as os/exec does. The successor would see the
// first one.
func lastOfEach(env []string) []string {
	seen := make(map[string]bool, len(env))
	kept := make([]string, 0, len(env))
	for _, entry := range slices.Backward(env) {
		name, _, isVariable := strings.Cut(entry, "=")
		if !isVariable || !seen[name] {
			kept = append(kept, entry)
		}
		seen[name] = true
	}
	slices.Reverse(kept)
	return kept
}

// firstEnv returns the environment of the first generation for a successor that is started with
// another one, and nil for one that finds it in its own.
func (p program) firstEnv(successors []string) []string {
	first := withoutAnnouncements(lastOfEach(p.env))
	if slices.Equal(first, successors) {
		return nil
	}
	return first
}

// open makes the file at the path, as it is now, the one that is started.
func (p *program) open() (err error) {
	p.opened, err = process.OpenExecutable(p.path)
	return err
}

// close closes what open has opened, if anything.
func (p *program) close() { _ = p.opened.Close() }
