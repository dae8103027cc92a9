//go:build !linux

package gracehttp

import "time"

// lastReceived returns zero: only Linux can tell.
func lastReceived(uintptr) time.Time { return time.Time{} }
