package fds

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The variables of sd_listen_fds(3).
const (
	envCount = "LISTEN_FDS"
	envNames = "LISTEN_FDNAMES"
	envPID   = "LISTEN_PID"
	// envPIDFD came with systemd 259; it is of no use to us, and is removed with the others.
	envPIDFD = "LISTEN_PIDFDID"
)

// First is the number of the first descriptor that is passed, SD_LISTEN_FDS_START.
const First = 3

// Announced is what the environment says about inherited descriptors: Count of them, from First on.
type Announced struct {
	Count int
	// Names has an entry for each descriptor, or is nil where no names were given.
	Names []string
}

// TakeAnnounced reads the variables of sd_listen_fds(3) and removes them from the environment, so that no child of this
// process takes them for its own. Where LISTEN_PID names another process, they are not for us: they stay, and nothing is
// announced. A missing LISTEN_PID is accepted, since a parent that is no service manager cannot know its child's number
// before the child runs (facebookgo/grace leaves it out for this reason).
func TakeAnnounced() (Announced, error) {
	count, ok := os.LookupEnv(envCount)
	pid := os.Getenv(envPID)
	if !ok || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return Announced{}, nil
	}
	names, named := os.LookupEnv(envNames)
	for _, name := range []string{envCount, envNames, envPID, envPIDFD} {
		if err := os.Unsetenv(name); err != nil {
			return Announced{}, fmt.Errorf("%w: cannot remove %s: %w", ErrEnvironment, name, err)
		}
	}
	return parseAnnounced(count, names, named)
}

// Unaddressed reports whether descriptors are announced without saying to whom, as facebookgo/grace does to the process that
// it starts to replace itself. One that a service manager has started passes on the LISTEN_PID that was meant for itself; in this
// case the descriptors have to be there.
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
		if err = cameByExec(fd); err == nil && !inspect(fd).servable() {
			return false
		}
	}
	return err == nil && n > 0
}

// Readdress makes this process the one to which descriptors are announced. It removes LISTEN_PID, and the names: both were meant
// for the parent, which knows nothing of them, and may have ordered its sockets anew.
func Readdress() error {
	var errs []error
	for _, name := range []string{envPID, envPIDFD, envNames} {
		errs = append(errs, os.Unsetenv(name))
	}
	return errors.Join(errs...)
}

// maxCount is how many descriptors Linux gives a process at the most, unless fs.nr_open was raised.
const maxCount = 1 << 20

func parseAnnounced(count, names string, named bool) (Announced, error) {
	n, err := strconv.Atoi(count)
	if n > maxCount {
		return Announced{Count: maxCount}, fmt.Errorf("%w: %s=%q is more than a process can have", ErrEnvironment, envCount, count)
	}
	if err != nil || n < 0 {
		return Announced{}, fmt.Errorf("%w: %s=%q is not a count of descriptors", ErrEnvironment, envCount, count)
	}
	a := Announced{Count: n}
	if !named {
		return a, nil
	}
	if n > 0 || names != "" {
		a.Names = strings.Split(names, ":")
	}
	if len(a.Names) != n {
		return Announced{Count: n}, fmt.Errorf("%w: %s=%q has %d names for the %d descriptors of %s: give one name for each, separated by colons",
			ErrEnvironment, envNames, names, len(a.Names), n, envCount)
	}
	return a, nil
}

// maxNames bounds LISTEN_FDNAMES: a single string of the environment may have MAX_ARG_STRLEN (128 KiB) bytes, execve(2).
const maxNames = 96 << 10

// Announce gives the variables that tell a child about the sockets of records, passed from First on. LISTEN_PID is left out,
// as in TakeAnnounced. Names are left out where there are none, or where they do not fit into a variable: a successor of
// ours gets them in the records.
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

// Unannounced returns env without the variables that announce descriptors.
func Unannounced(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case envCount, envNames, envPID, envPIDFD:
		default:
			kept = append(kept, entry)
		}
	}
	return kept
}

// CheckName reports whether name can be the name of a descriptor: ASCII without control characters and colons, at most 255
// bytes, as sd_listen_fds_with_names(3) has it.
func CheckName(name string) error {
	if len(name) > 255 {
		return fmt.Errorf("name of a descriptor has %d bytes, more than 255", len(name))
	}
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || c == ':' {
			return fmt.Errorf("name of a descriptor %q has the character %q: only printable ASCII other than the colon is allowed", name, c)
		}
	}
	return nil
}
