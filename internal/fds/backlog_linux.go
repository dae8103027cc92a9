package fds

import (
	"math"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// backlogs brings listeners up to date by a second listen(2), which changes nothing else: clients
// see the credentials of the process that called it last (SO_PEERCRED in unix(7)), and it reads
// net.core.somaxconn again.
type backlogs struct{ somaxconn int } // 0 if it is unknown

func newBacklogs() backlogs {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return backlogs{}
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return backlogs{n}
}

// refresh calls listen(2) for a listener that this service has bound. A failure leaves the listener
// as it was.
func (b backlogs) refresh(sock *Socket) {
	if sock.record.Given {
		return // whoever has given it has chosen its backlog
	}
	switch sock.conn.(type) {
	case *net.UnixListener:
		_ = Control(sock.conn, listenAgain)
	case *net.TCPListener:
		_ = Control(sock.conn, func(fd int) error {
			// Of a listener, tcpi_sacked is the backlog.
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil || b.somaxconn == 0 || int(info.Sacked) == b.somaxconn {
				return err
			}
			return listenAgain(fd)
		})
	}
}

// listenAgain sets the longest backlog that the system allows, as package net does.
func listenAgain(fd int) error { return unix.Listen(fd, math.MaxInt32) }
