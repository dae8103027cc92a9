package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-grace/grace/internal/wiring"
)

// WithExecutable sets the file that successors execute. A relative path is taken from the present
// directory. The file is looked at again at each upgrade, so that a symbolic link can be turned and
// a file be replaced.
//
// The default is the path by which this process was started (os.Args[0]), with its symbolic links,
// if it leads to the executed file and nobody but root and the user of this process can make it
// lead elsewhere: root and that user must own each directory, each link and the file, and no group
// or other user may write to them (sticky directories, such as /tmp, excepted). Otherwise it is the
// path of the executed file, without links; [graceevent.PathIgnored] says so and why. A file that
// is replaced at that path is what successors execute; where it was removed, an upgrade fails.
//
// In a privileged start only the executed file counts, because another user chooses os.Args[0]: in
// one by sudo, doas or pkexec, which their environment variables tell, and by a set-user-ID or
// set-group-ID file or file capabilities (AT_SECURE of getauxval(3)). If another user can replace
// the executed file, upgrades are refused. WithExecutable overrules all this: name a path that only
// root can change.
//
// If a dynamic loader was executed (ld-linux.so ./service), successors execute the program itself,
// and no options of the loader.
func WithExecutable(path string) Option {
	return newOption("WithExecutable", func(o *options) (err error) {
		if path == "" {
			return errors.New("the path is empty")
		}
		o.executable, err = filepath.Abs(strings.Clone(path))
		return err
	}, path)
}

// WithArgs sets the arguments of successors, without the program's name. The default is those of
// this process, which in a successor are the ones that were set here: a program that extends
// os.Args does so once more in each generation.
func WithArgs(args ...string) Option {
	return newOption("WithArgs", func(o *options) error {
		for _, a := range args {
			if strings.ContainsRune(a, 0) {
				return fmt.Errorf("argument %q has a zero byte", a)
			}
		}
		o.args = cloneAll(args)
		return nil
	}, anys(args)...)
}

// WithDir sets the directory in which successors start. The default is the one in which [New] was
// called. Its path is looked at again at each upgrade, so that a symbolic link in it can be turned.
// If nothing can be entered by the path any longer, successors start in the same directory,
// although it was removed or renamed, as long as it is that of this process; otherwise the upgrade
// fails.
func WithDir(path string) Option {
	return newOption("WithDir", func(o *options) (err error) {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		o.dir, err = filepath.Abs(strings.Clone(path))
		return err
	}, path)
}

// WithEnv asks a function for the environment of each successor, in the form of [os.Environ]. The
// function gets a copy of the default, which in every generation is the environment that the first
// process had when [New] was called, and may extend it. Of several entries for a variable the last
// one counts. The error of the function fails the upgrade. The variables that announce sockets are
// added; those by which a dynamic loader runs other code (LD_PRELOAD) are left out of the default
// in a process that was started with more rights than its parent has.
//
//	grace.WithEnv(func(_ context.Context, env []string) ([]string, error) {
//		return append(env, "STARTED_BY=upgrade"), nil
//	})
func WithEnv(env func(ctx context.Context, env []string) ([]string, error)) Option {
	return newOption("WithEnv", func(o *options) error {
		if env == nil {
			return errors.New("the function is nil")
		}
		o.env = env
		return nil
	})
}

// WithoutContainerCheck lets [Manager.Upgrade] run although this process seems to be one whose end
// ends its container. By default Upgrade refuses on Linux if the processes from the one that has
// started this one up to PID 1 of the container exit with it: small inits (tini, dumb-init,
// catatonit), shells that execute a script or a command, sudo and the like. PID 1 is expected to,
// unless it is an init or a supervisor that is known to stay (systemd, s6, runit, supervisord and
// others) or an interactive shell. Any other program between this process and PID 1 is expected to
// stay: if one exits with this process, such as a wrapper that fetches secrets, do not upgrade.
// Upgrade also refuses in the first process of a container that
// shares the PID namespace of its host or of another container. A process outside of containers is
// never refused.
//
// Use the option if PID 1 goes on when this process ends, as a script that waits for something else
// does. It does not help a process that is PID 1 itself.
func WithoutContainerCheck() Option {
	return newOption("WithoutContainerCheck", func(o *options) error {
		o.ignoreContainer = true
		return nil
	})
}

// WithCheck has a function look at the program of each successor before it is started, for example
// at its signature; the error of the function fails the upgrade, at [StepCheck]. It runs in the old
// process, after the OnUpgrade hooks and within the upgrade timeout, and is left behind if it has
// not returned a second after that.
//
// The path that it gets is for reading the program, during the call. What was checked is what is
// started:
//
//   - On Linux the program is opened once. The path leads to that open file, even for other programs
//     that are called with it, and that very file is executed, whatever has taken its name meanwhile.
//     [path/filepath.EvalSymlinks] returns the name that it has in the file system. The program has to
//     be readable and cannot be a script, and /proc has to be mounted.
//   - Elsewhere a program can be executed by its path alone, and the path is what the function gets.
//     If another file takes its name between the check and the start, the upgrade fails, but the other
//     program may have begun to run; and it is not noticed at all if the old file is back at once.
//
// A program that is written to while it is checked fails the upgrade. Its size and its time of
// modification tell, so someone who can write to it and set its time back can deceive the check:
// new programs should belong to another user than the service's. By default nothing is checked.
func WithCheck(check func(ctx context.Context, path string) error) Option {
	return newOption("WithCheck", func(o *options) error {
		if check == nil {
			return errors.New("the function is nil")
		}
		o.check = check
		return nil
	})
}

// wiring.Option is how other packages of this module make a Manager that meets others in another
// way.
func init() { wiring.Option = withWiring }

func withWiring(w wiring.Wiring) Option {
	return newOption("withWiring", func(o *options) error {
		o.wires = w
		return nil
	})
}
