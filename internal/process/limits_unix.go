//go:build unix

package process

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// explain names the limit, or the file, that has kept a process from being started. The error
// matches err, or EMFILE.
func explain(spec Spec, err error) error {
	switch {
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("%w: %s", err, size(spec))
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: the user or the container has reached its limit on processes and "+
			"threads: raise RLIMIT_NPROC or pids.max", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w: this process has reached its limit: raise RLIMIT_NOFILE", err)
	case errors.Is(err, syscall.EBADF):
		return beyondLimit(spec, err)
	}
	return explainFile(spec, err)
}

// beyondLimit distinguishes a number beyond the limit from a closed descriptor: both are EBADF.
// Package syscall moves descriptors out of each other's way to numbers above the highest one to
// pass.
func beyondLimit(spec Spec, err error) error {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return err
	}
	highest := 0
	for _, fd := range spec.Files {
		if fd != ^uintptr(0) {
			highest = max(highest, int(fd))
		}
	}
	// One number is for the pipe through which the child reports errors, and at most one for each
	// that is in the way.
	needed := uint64(highest) + 2 + uint64(len(spec.Files))
	if needed > uint64(limit.Cur) { //nolint:unconvert // it is signed on FreeBSD
		return fmt.Errorf("%w: passing descriptors up to %d may need %d numbers for a moment, "+
			"and the limit is %d: raise RLIMIT_NOFILE", syscall.EMFILE, highest, needed, limit.Cur)
	}
	return err
}

// size says how long the arguments and the environment are, and which of them is the longest.
func size(spec Spec) string {
	total, longest, what := 0, 0, ""
	for i, s := range slices.Concat(spec.Args, spec.Env) {
		total += len(s) + 1
		if len(s) < longest {
			continue
		}
		longest, what = len(s), "an argument"
		if i >= len(spec.Args) {
			name, _, _ := strings.Cut(s, "=")
			what = fmt.Sprintf("the variable %.64q", name)
		}
	}
	return fmt.Sprintf("arguments and environment have %d bytes, and %s has %d of them: use fewer "+
		"or shorter ones; execve(2) has the limits of each and of all", total, what, longest)
}
