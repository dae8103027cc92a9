//go:build unix

package signals

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Upgrade is the usual list of upgrade signals.
var Upgrade = []os.Signal{syscall.SIGHUP, syscall.SIGUSR2}

// Catchable reports whether a process can claim the signal.
func Catchable(sig os.Signal) bool { return sig != syscall.SIGKILL && sig != syscall.SIGSTOP }

// raise sends a signal to this process.
func raise(sig os.Signal) {
	if s, ok := sig.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), s)
	}
}

// raiseDefault does to this process what the signal does where nobody catches it.
func raiseDefault(sig os.Signal) {
	signal.Reset(sig)
	raise(sig)
}

// findTerminal returns the part of this process in the session of its terminal, if there is one.
func findTerminal() terminal {
	fd, err := openTerminal()
	if err != nil {
		return noTerminal
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written
	if sid, err := unix.Getsid(0); err == nil && sid == os.Getpid() {
		return leader
	}
	if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
		return foreground
	}
	return noTerminal
}

// hasTerminal reports whether this process has a controlling terminal.
func hasTerminal() bool {
	fd, err := openTerminal()
	if err != nil {
		return false // ENXIO: there is none; EIO: it is being closed
	}
	_ = unix.Close(fd)
	return true
}

func openTerminal() (int, error) {
	return unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}
