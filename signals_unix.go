//go:build unix

package grace

import (
	"os"
	"os/signal"
	"syscall"
)

func defaultUpgradeSignals() []os.Signal { return []os.Signal{syscall.SIGHUP, syscall.SIGUSR2} }

func uncatchable(sig os.Signal) bool { return sig == syscall.SIGKILL || sig == syscall.SIGSTOP }

// raiseDefault does to this process what the signal does where nobody catches it.
func raiseDefault(sig os.Signal) {
	signal.Reset(sig)
	if s, ok := sig.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), s)
	}
}
