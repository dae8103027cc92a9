//go:build !linux

package process

// Loaded returns the same file: it is not known here whether that is a dynamic loader.
func Loaded(executed string) string { return executed }
