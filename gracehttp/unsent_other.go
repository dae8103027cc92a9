//go:build !linux

package gracehttp

import "os"

// unsent returns 0: only Linux can tell.
func unsent(*os.File) int { return 0 }
