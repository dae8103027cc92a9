// Package legacy speaks with programs of facebookgo/grace.
//
// Such a program replaces itself like this: it starts its own command with its sockets from
// descriptor 3 on and LISTEN_FDS in the environment; the new process sends SIGTERM to its parent
// when it serves, and the old one drains. Nothing else passes between them.
package legacy

import (
	"fmt"
	"os"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// FindParent returns the number of a parent that waits for SIGTERM, or 0. Such a parent has passed
// sockets without saying to whom, and runs the command that this process runs: nobody else starts a
// process so. Development tools and shells that pass sockets have a command of their own, and must
// not be signalled.
func FindParent() (int, error) {
	pid := os.Getppid()
	possible := process.Supported && pid > 1 && fds.Unaddressed() && !handoff.Expected()
	if !possible || !process.SameCommand(pid) {
		return 0, nil
	}
	return pid, fds.Readdress()
}

// Follow watches a parent that waits for SIGTERM. There is no link to it: one that has ended stands
// in for it.
func Follow(pid int) (*generation.Older, error) {
	l, err := handoff.Ended()
	if err != nil {
		return nil, fmt.Errorf("follow process %d: %w", pid, err)
	}
	o := generation.New(graceevent.Process{PID: pid, Generation: 1}, l, generation.WatchParent(pid))
	o.Legacy = true
	return o, nil
}
