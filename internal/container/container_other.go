//go:build !linux

package container

func reason() string { return "" }
