//go:build !linux

package process

// RestoreName does nothing: a process has the name of the path that was executed.
func RestoreName(string) {}
