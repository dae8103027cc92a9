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

// keptOptions are those that package net sets on a TCP connection which it makes.
var keptOptions = options{
	{level: unix.IPPROTO_TCP, name: unix.TCP_NODELAY},
	{level: unix.SOL_SOCKET, name: unix.SO_KEEPALIVE},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPIDLE},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPINTVL},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPCNT},
}

// readOptions reads what there is: a unix socket has none of those of TCP.
func readOptions(f *os.File) options {
	var found options
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		for _, o := range keptOptions {
			if o.value, err = unix.GetsockoptInt(int(fd), o.level, o.name); err == nil {
				found = append(found, o)
			}
		}
	})
	return found
}

// restore sets the options that package net has changed.
func (all options) restore(c net.Conn) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, o := range all {
			now, err := unix.GetsockoptInt(int(fd), o.level, o.name)
			if err == nil && now != o.value {
				err = unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
			}
			if err != nil {
				failed = os.NewSyscallError("setsockopt", err)
			}
		}
	})
	if err == nil {
		err = failed
	}
	return err
}
