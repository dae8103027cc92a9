//go:build !linux

package process

func watchHandle(int) *Watched { return nil }
