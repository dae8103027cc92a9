//go:build !unix

package grace

import "os"

func defaultUpgradeSignals() []os.Signal { return nil }

func uncatchable(sig os.Signal) bool { return sig == os.Kill }

// raiseDefault ends the process as the runtime does on Ctrl-C where nobody catches it.
func raiseDefault(os.Signal) { os.Exit(2) }
