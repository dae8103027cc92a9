package fds

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The variables of sd_listen_fds(3).
const (
	envCount = "LISTEN_FDS"
	envNames = "LISTEN_FDNAMES"
	envPID   = "LISTEN_PID"
	// envPIDFD came with systemd 259. It is only removed with the others.
	envPIDFD = "LISTEN_PIDFDID"
)

var envAll = []string{envCount, envNames, envPID, envPIDFD}

// First is the number of the first passed descriptor, SD_LISTEN_FDS_START.
const First = 3

// Announced is what the environment says about inherited descriptors: there are Count of them, from
// First on.
type Announced struct {
	Count int
	// Names has an entry for each descriptor, or is nil if no names were given.
	Names []string
}

// TakeAnnounced reads the variables of sd_listen_fds(3) and removes them from the environment, so
// that no child of this process takes them for its own. If LISTEN_PID names another process, they
// stay and nothing is announced. A missing LISTEN_PID is accepted: a parent cannot know its child's
// number before the child runs, unless it sets the variable between fork and exec as a service
// manager does (facebookgo/grace leaves it out for this reason).
func TakeAnnounced() (Announced, error) {
	count, ok := os.LookupEnv(envCount)
	pid := os.Getenv(envPID)
	if !ok || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return Announced{}, nil
	}
	names, named := os.LookupEnv(envNames)
	for _, name := range envAll {
		if err := os.Unsetenv(name); err != nil {
			return Announced{}, fmt.Errorf("%w: cannot remove %s: %w", ErrEnvironment, name, err)
		}
	}
	return parseAnnounced(count, names, named)
}

// Ignore removes the variables of descriptors that must not be taken, and reports whether they were
// there. The descriptors stay open, as any others that the parent may have passed, and become
// close-on-exec: to close them would let the parent close what a package of this process has
// opened.
func Ignore() bool {
	count, ok := os.LookupEnv(envCount)
	for _, name := range envAll {
		_ = os.Unsetenv(name) // the name is valid
	}
	if n, err := strconv.Atoi(count); err == nil && n > 0 {
		setCloexec(First, min(n, maxCount))
	}
	return ok
}

// Unaddressed reports whether descriptors are announced without the number of the process that they
// are for, as facebookgo/grace does when it replaces itself. If a service manager started that
// parent, it passes on the LISTEN_PID that was meant for itself; then the descriptors must also be
// there.
func Unaddressed() bool {
	count, ok := os.LookupEnv(envCount)
	switch pid := os.Getenv(envPID); {
	case !ok || pid == strconv.Itoa(os.Getpid()):
		return false
	case pid == "":
		return true
	}
	n, err := strconv.Atoi(count)
	if n > maxCount {
		return false
	}
	for fd := First; err == nil && fd < First+n; fd++ {
		if err = CheckInherited(fd); err == nil && !inspect(fd).servable() {
			return false
		}
	}
	return err == nil && n > 0
}

// Readdress makes this process the one that the announced descriptors are for. It removes
// LISTEN_PID and the names: both were meant for the parent, which ignores them and may have put its
// sockets into another order.
func Readdress() error {
	var errs []error
	for _, name := range []string{envPID, envPIDFD, envNames} {
		errs = append(errs, os.Unsetenv(name))
	}
	return errors.Join(errs...)
}

// maxCount is how many descriptors a process can have on Linux, unless fs.nr_open was raised.
const maxCount = 1 << 20

// remedy is what to do about a wrong LISTEN_FDS.
const remedy = "unset it if no service manager passes sockets (sd_listen_fds(3))"

func parseAnnounced(count, names string, named bool) (Announced, error) {
	n, err := strconv.Atoi(count)
	if n > maxCount {
		return Announced{Count: maxCount}, fmt.Errorf(
			"%w: %s=%q is more than the %d descriptors that a process can have: %s",
			ErrEnvironment, envCount, count, maxCount, remedy)
	}
	if err != nil || n < 0 {
		return Announced{}, fmt.Errorf("%w: %s=%q is not the number of descriptors that were "+
			"passed: %s", ErrEnvironment, envCount, count, remedy)
	}
	a := Announced{Count: n}
	if !named {
		return a, nil
	}
	if n > 0 || names != "" {
		// The names outlive the memory of the environment, which a program may overwrite.
		a.Names = strings.Split(strings.Clone(names), ":")
	}
	if len(a.Names) != n {
		return Announced{Count: n}, fmt.Errorf(
			"%w: %s=%q has %d names for the %d descriptors of %s: "+
				"give one name for each, separated by colons",
			ErrEnvironment, envNames, names, len(a.Names), n, envCount)
	}
	return a, nil
}

// maxNames bounds LISTEN_FDNAMES in bytes: a string of the environment is limited to MAX_ARG_STRLEN
// (128 KiB), see execve(2).
const maxNames = 96 << 10

// Announce returns the variables that tell a child about the sockets of records, passed from First
// on. They do not include LISTEN_PID, see TakeAnnounced. Nor do they include names if there are
// none, or if they do not fit into a variable: a successor that uses this package also receives the
// records.
func Announce(records []Record) []string {
	env := []string{envCount + "=" + strconv.Itoa(len(records))}
	var names strings.Builder
	named := false
	for i, r := range records {
		if i > 0 {
			names.WriteByte(':')
		}
		names.WriteString(r.Name)
		named = named || r.Name != ""
	}
	if named && names.Len() <= maxNames {
		env = append(env, envNames+"="+names.String())
	}
	return env
}

// StripEnv returns env without the variables that announce descriptors and without the other named
// ones.
func StripEnv(env []string, others ...string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.Contains(envAll, name) && !slices.Contains(others, name) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// CheckName returns an error unless name can be the name of a descriptor: at most 255 bytes of
// ASCII without control characters and colons, as in sd_listen_fds_with_names(3).
func CheckName(name string) error {
	if len(name) > 255 {
		return fmt.Errorf("the name of a descriptor has %d bytes, more than 255", len(name))
	}
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || c == ':' {
			return fmt.Errorf("the name %q of a descriptor has the character %q: "+
				"use only printable ASCII without the colon", name, c)
		}
	}
	return nil
}
