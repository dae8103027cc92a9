//go:build !unix

package fds

// addressesOf always reports false: no descriptors are listed on this platform.
func addressesOf(int) (addresses, bool) { return addresses{}, false }
