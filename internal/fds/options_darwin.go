package fds

import "golang.org/x/sys/unix"

var keepAliveTimes = options{
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPALIVE},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPINTVL},
	{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPCNT},
}
