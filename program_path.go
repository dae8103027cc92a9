package grace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/privilege"
	"github.com/go-grace/grace/internal/process"
)

// choosePath decides which path successors execute: the one by which this process was started, so
// that a symbolic link in it is followed again at each upgrade, or that of the executed file. Who
// starts a process chooses its name freely. So the name counts only if it leads to the executed
// file, as the one that a supervisor has given to a process does not, and if no other user can make
// it lead elsewhere; in a privileged start it never does.
func (p *program) choosePath(args []string, privileged bool) error {
	named := namedFile(args)
	self, err := executedFile(named)
	if err == nil && !sameFile(named, self) {
		named = ""
	}
	p.path, p.guarded = self, privileged
	switch {
	case err != nil && privileged:
		p.path, p.unknown = named, err
		return nil
	case err != nil && named == "":
		return fmt.Errorf(
			"grace: cannot tell what this process executes, use WithExecutable: %w", err)
	case err != nil:
		p.path, p.guarded = named, true
		return nil //nolint:nilerr // the name has to do, and checkPath has the last word
	case named == "" || named == self:
		return nil
	}
	reason := errPrivileged
	if !privileged {
		reason = privilege.CheckPath(named)
	}
	if reason == nil {
		p.path = named
		return nil
	}
	p.notices = append(p.notices,
		graceevent.PathIgnored{Path: named, Executable: self, Err: reason})
	return nil
}

var errPrivileged = errors.New("this process was started with more rights than its parent had" +
	" (by sudo or the like, a set-user-ID file or file capabilities)")

// namedFile returns the absolute path of the file that the name of this process leads to, or "". A
// file in /proc is that of one process, and no name for the next one.
func namedFile(args []string) string {
	if len(args) == 0 {
		return ""
	}
	found, err := exec.LookPath(args[0])
	if err != nil {
		return ""
	}
	path, err := filepath.Abs(found)
	if err != nil || strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/dev/fd/") {
		return ""
	}
	return strings.Clone(path) // not in the memory of the arguments
}

// executedFile returns the path that the executed file had when it was started, without symbolic
// links where the system allows that.
func executedFile(named string) (string, error) {
	self, err := os.Executable()
	if err == nil && !sameFile(named, self) {
		self = process.Loaded(self)
	}
	return strings.Clone(self), err
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

// checkPath returns an error if another user could have made the path lead to a program of his.
func (p program) checkPath() error {
	if !p.guarded {
		return nil
	}
	err := p.unknown
	switch {
	case err != nil:
	case !privilege.KnowsFile:
		err = errors.New("this system does not tell which file a process executes")
	default:
		err = privilege.CheckPath(p.path)
	}
	if err != nil {
		return fmt.Errorf("%s may not be executed, because another user could have put it there to "+
			"gain the rights of this process: %w: install the program where only root can change "+
			"it, or use WithExecutable", p.path, err)
	}
	return nil
}
