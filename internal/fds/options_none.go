//go:build unix && !(linux || freebsd || netbsd || dragonfly || darwin)

package fds

// keepAliveTimes cannot be set here.
var keepAliveTimes options
