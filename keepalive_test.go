//go:build linux

package grace

import (
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// net.FileListener forgets the ListenConfig: without help, keep-alive changes with the first upgrade.
func TestKeepAliveSurvivesAnUpgrade(t *testing.T) {
	for name, want := range map[string]string{
		"off":    "keepalive=0",
		"idle":   "keepalive=1 idle=77 interval=15 count=9",
		"config": "keepalive=1 idle=33 interval=11 count=3",
		"":       "keepalive=1 idle=15 interval=15 count=9",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := tcpOnly
			c.KeepAlive = name
			s := start(t, "lines", c)
			for range 3 {
				if got := s.ask("keepalive"); got != want {
					t.Errorf("connections have %q and not %q", got, want)
				}
				s.upgrade()
			}
		})
	}
}

// keepAlive reads what the kernel does for a connection.
func keepAlive(c net.Conn) string {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err.Error()
	}
	get := func(fd uintptr, level, opt int) int {
		n, _ := unix.GetsockoptInt(int(fd), level, opt)
		return n
	}
	var answer string
	err = raw.Control(func(fd uintptr) {
		answer = fmt.Sprintf("keepalive=%d", get(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE))
		if answer == "keepalive=1" {
			answer += fmt.Sprintf(" idle=%d interval=%d count=%d", get(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
				get(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), get(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT))
		}
	})
	if err != nil {
		return err.Error()
	}
	return answer
}
