//go:build !linux

package process

import "errors"

// SameCommand would report whether a process was started with the arguments of this one: that cannot be told here.
func SameCommand(int) bool { return true }

// Descriptors cannot be had here.
func Descriptors(int) (map[int]string, error) { return nil, errors.ErrUnsupported }

// SocketName gives no name here.
func SocketName(uintptr) string { return "" }
