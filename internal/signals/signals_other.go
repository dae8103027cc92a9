//go:build !unix

package signals

import "os"

// Upgrade is the usual list of upgrade signals: there is none that other processes could send.
var Upgrade []os.Signal

// Catchable reports whether a process can claim the signal.
func Catchable(sig os.Signal) bool { return sig != os.Kill }

// raise does nothing: no process can send itself a signal here.
func raise(os.Signal) {}

// raiseDefault ends the process as the runtime does on Ctrl-C where nobody catches it.
func raiseDefault(os.Signal) { os.Exit(2) }

func findTerminal() terminal { return noTerminal }

func hasTerminal() bool { return false }
