package grace

import (
	"syscall"

	"github.com/go-grace/grace/internal/handoff"
)

// bequest is a descriptor that a successor is to have beside the sockets and the link.
type bequest struct {
	conn  syscall.Conn
	about handoff.Passed
	fd    uintptr // while it is borrowed
}

// borrow calls use with those bequests that are open. Their owners may close them at any time, and their numbers be used again;
// so use is called inside of RawConn.Control, which keeps the descriptor, one call nested in another.
func borrow(all []bequest, use func([]bequest) error) error {
	return borrowFrom(0, all, use)
}

func borrowFrom(i int, all []bequest, use func([]bequest) error) error {
	if i == len(all) {
		return use(all)
	}
	raw, err := all[i].conn.SyscallConn()
	if err == nil {
		var inner error
		err = raw.Control(func(fd uintptr) {
			all[i].fd = fd
			inner = borrowFrom(i+1, all, use)
		})
		if err == nil {
			return inner
		}
	}
	return borrowFrom(i, append(all[:i:i], all[i+1:]...), use) // it is closed: there is nothing to pass
}

// describe gives the descriptions for Hello.
func describe(all []bequest) []handoff.Passed {
	described := make([]handoff.Passed, len(all))
	for i, b := range all {
		described[i] = b.about
	}
	return described
}
