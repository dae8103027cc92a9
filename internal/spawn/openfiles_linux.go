//go:build amd64 || arm64

package spawn

import (
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/openfiles"
)

// room is how many descriptors a program can open beside those that it gets, before it raises its
// limit itself: the dynamic linker opens libraries.
const room = 64

// openFiles returns the limit of a child that gets so many files, as package syscall would set it,
// but with room for them. It reports false if the child keeps the limit of this process.
func openFiles(files int) (limit unix.Rlimit, other bool) {
	start, raised := openfiles.RaisedFrom()
	soft := max(start.Soft, uint64(files+room))
	return unix.Rlimit{Cur: min(soft, start.Hard), Max: start.Hard}, raised
}
