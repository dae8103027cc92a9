//go:build !linux

package fds

// On this platform the traits of a socket are not known: sockets of equal requests are told apart
// by their order and by their names.

func readSpecialOptions(int) []string { return nil }

func deviceOf(int) string { return "" }

func lostDevice(int) bool { return false }

func namespaceOf(int) string { return "" }

func threadNamespace() string { return "" }
