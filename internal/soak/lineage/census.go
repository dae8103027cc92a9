package lineage

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Census counts the things in a process that must not grow. What only /proc shows is missing, and
// Descriptors nil, on a system without it.
type Census struct {
	Descriptors map[string]int `json:"descriptors,omitempty"` // by kind, such as "socket"
	Goroutines  int            `json:"goroutines"`
	Resident    int64          `json:"resident,omitempty"` // memory in bytes; 0 if not measured
}

// TakeCensus counts this process.
func TakeCensus() *Census {
	return &Census{
		Descriptors: descriptors(), Goroutines: runtime.NumGoroutine(), Resident: residentMemory(),
	}
}

// SettledCensus takes censuses until five in a row are equal and none of them shows a link to
// another generation. By then, everything that was about to end has ended.
func SettledCensus(
	ctx context.Context, interval time.Duration, take func() (*Census, error),
) (*Census, error) {
	const enough = 5
	var last *Census
	for equal := 0; equal < enough; time.Sleep(interval) {
		c, err := take()
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, fmt.Errorf("the process does not settle: %w: %v", context.Cause(ctx), c)
		case c.links() > 0:
			equal = 0
		case last != nil && c.equal(last):
			equal++
		default:
			equal = 1
		}
		last = c
	}
	return last, nil
}

func descriptors() map[string]int {
	const dir = "/proc/self/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	count := make(map[string]int)
	pairs := socketPairs()
	for _, e := range entries {
		target, err := os.Readlink(dir + e.Name())
		switch {
		case err != nil, transient(target): // the one that fails is ReadDir's own, now closed
		case pairs[target]:
			count[pair]++
		default:
			count[descriptorKind(target)]++
		}
	}
	return count
}

// The kinds of descriptors that link a process to other generations: to its parent, and to each
// generation that was already draining when the parent was replaced. Their number is a matter of
// chance.
const (
	pair  = "socket pair"
	pidfd = "pidfd" // each has a goroutine that waits for the end of the process
)

// links returns the number of descriptors that link the process to other generations.
func (c *Census) links() int { return c.Descriptors[pair] + c.Descriptors[pidfd] }

// WithoutLinks returns a copy without everything that depends on the number of older generations.
func (c *Census) WithoutLinks() *Census {
	rest := *c
	rest.Goroutines -= c.Descriptors[pidfd]
	rest.Descriptors = maps.Clone(c.Descriptors)
	delete(rest.Descriptors, pair)
	delete(rest.Descriptors, pidfd)
	return &rest
}

// socketPairs returns the connected unix sockets that have no name, as the links in /proc/self/fd
// show them. A connection that a server accepted has the name of its listener.
func socketPairs() map[string]bool {
	const connected = "03"
	pairs := make(map[string]bool)
	table, _ := os.ReadFile("/proc/self/net/unix") // without it they count as sockets
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) == 7 && f[5] == connected {
			pairs["socket:["+f[6]+"]"] = true
		}
	}
	return pairs
}

// transient reports whether a descriptor is one that the runtime or the C library opens for a
// moment, for instance to count the processors. The service and the library open none there.
func transient(target string) bool {
	return strings.HasPrefix(target, "/sys/") || strings.HasPrefix(target, "/proc/")
}

// descriptorKind returns "socket" for socket:[4711], "pidfd" for anon_inode:[pidfd], and the path
// for an open file.
func descriptorKind(target string) string {
	kind, detail, found := strings.Cut(target, ":")
	switch {
	case !found || strings.HasPrefix(target, "/"):
		return target
	case kind == "anon_inode":
		return strings.Trim(detail, "[]")
	}
	return kind
}

// residentMemory returns the VmRSS of proc_pid_status(5) in bytes, or 0 without /proc.
func residentMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			number := strings.TrimSuffix(strings.TrimSpace(value), " kB")
			kilobytes, _ := strconv.ParseInt(number, 10, 64) // 0: not measured
			return kilobytes << 10
		}
	}
	return 0
}

// equal compares everything but the memory, which is never exactly the same.
func (c *Census) equal(other *Census) bool {
	return c.Goroutines == other.Goroutines && maps.Equal(c.Descriptors, other.Descriptors)
}

// open returns the number of descriptors.
func (c *Census) open() int {
	n := 0
	for _, count := range c.Descriptors {
		n += count
	}
	return n
}

func (c *Census) String() string {
	kinds := []string{fmt.Sprintf("%d goroutines", c.Goroutines)}
	for _, kind := range slices.Sorted(maps.Keys(c.Descriptors)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", c.Descriptors[kind], kind))
	}
	return strings.Join(kinds, ", ")
}
