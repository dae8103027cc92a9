//go:build !linux

package gracehttp

import "time"

// lastReceived returns zero: only Linux can tell.
func lastReceived(uintptr) time.Time { return time.Time{} }

// hasUnread returns false: only Linux can tell.
func hasUnread(uintptr) bool { return false }
