//go:build amd64 || arm64

package openfiles

// Limit is a limit on open files.
type Limit struct{ Soft, Hard uint64 }

// AtStart is the limit with which this process was started.
var AtStart = read()

func read() (l Limit) {
	prlimit(0, rlimitNofile, nil, &l)
	return l
}

const rlimitNofile = 7

// prlimit is prlimit(2). After an error, old is left as it is.
//
//go:noescape
func prlimit(pid, resource uintptr, limit, old *Limit)

// RaisedFrom returns the limit at the start if the present one is what package syscall has made of
// it: as much as the hard limit, less one.
func RaisedFrom() (Limit, bool) {
	now, start := read(), AtStart
	raised := now == Limit{start.Hard - 1, start.Hard} && start.Soft < start.Hard-1
	return start, raised
}
