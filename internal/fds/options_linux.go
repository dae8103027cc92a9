package fds

import (
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// option is a socket option, with its value.
type option struct{ level, name, value int }

type options []option

// keptOptions are the options that package net sets on a new TCP connection.
var keptOptions = options{
	{level: unix.IPPROTO_TCP, name: unix.TCP_NODELAY},
	{level: unix.SOL_SOCKET, name: unix.SO_KEEPALIVE},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPIDLE},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPINTVL},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPCNT},
}

// readOptions reads the options that the socket has: a unix socket has none of those of TCP.
func readOptions(c syscall.Conn) options {
	var found options
	_ = Control(c, func(fd int) (err error) {
		for _, o := range keptOptions {
			if o.value, err = unix.GetsockoptInt(fd, o.level, o.name); err == nil {
				found = append(found, o)
			}
		}
		return nil
	})
	return found
}

// netOptions returns the options that package net sets on each new TCP connection. It reads them
// from the first one.
func netOptions(c syscall.Conn) options {
	learnNetOptions.Do(func() { learnedNetOptions = readOptions(c) })
	return learnedNetOptions
}

var (
	learnNetOptions   sync.Once
	learnedNetOptions options
)

// restore sets the options that package net has changed.
func (all options) restore(c net.Conn) error {
	if len(all) == 0 {
		return nil
	}
	changed := netOptions(c.(syscall.Conn))
	return Control(c.(syscall.Conn), func(fd int) error {
		for _, o := range all {
			if slices.Contains(changed, o) {
				continue
			}
			if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		return nil
	})
}
