//go:build !linux

package process

import "errors"

// SameCommand always returns true: the arguments of another process are unknown on this platform.
func SameCommand(int) bool { return true }

// Descriptors always fails on this platform.
func Descriptors(int) (map[int]string, error) { return nil, errors.ErrUnsupported }

// SocketName always returns "" on this platform.
func SocketName(uintptr) string { return "" }
