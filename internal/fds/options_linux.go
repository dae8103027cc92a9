package fds

import (
	"net"
	"os"
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
func readOptions(f *os.File) options {
	var found options
	_ = Control(f, func(fd int) (err error) {
		for _, o := range keptOptions {
			if o.value, err = unix.GetsockoptInt(fd, o.level, o.name); err == nil {
				found = append(found, o)
			}
		}
		return nil
	})
	return found
}

// restore sets the options that package net has changed.
func (all options) restore(c net.Conn) error {
	return Control(c.(syscall.Conn), func(fd int) error {
		for _, o := range all {
			now, err := unix.GetsockoptInt(fd, o.level, o.name)
			if err == nil && now != o.value {
				err = unix.SetsockoptInt(fd, o.level, o.name, o.value)
			}
			if err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		return nil
	})
}
