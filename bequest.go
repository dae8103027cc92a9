package grace

import (
	"syscall"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

// bequest is a descriptor that a successor is to have beside the sockets and the link.
type bequest struct {
	conn  syscall.Conn
	about handoff.ExtraFile
	fd    uintptr // while it is pinned
}

// pin returns the bequests that are open, whose numbers stay valid until the caller calls unpin. It leaves out those that
// their owners have closed.
func pin(all []bequest) (open []bequest, unpin func()) {
	var pins []*fds.Pin
	for _, b := range all {
		p, err := fds.PinConn(b.conn)
		if err != nil {
			continue
		}
		b.fd = p.FD()
		open, pins = append(open, b), append(pins, p)
	}
	return open, func() {
		for _, p := range pins {
			p.Release()
		}
	}
}

// describe gives the descriptions for Hello.
func describe(all []bequest) []handoff.ExtraFile {
	described := make([]handoff.ExtraFile, len(all))
	for i, b := range all {
		described[i] = b.about
	}
	return described
}
