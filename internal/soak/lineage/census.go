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

// Census counts what must not grow in a process. What the system does not tell, having no /proc, is missing.
type Census struct {
	Descriptors map[string]int `json:"descriptors,omitempty"` // by what they are, such as "socket"; nil if not measured
	Goroutines  int            `json:"goroutines"`
	Resident    int64          `json:"resident,omitempty"` // memory in bytes; 0 if not measured
}

// TakeCensus counts this process.
func TakeCensus() *Census {
	return &Census{Descriptors: descriptors(), Goroutines: runtime.NumGoroutine(), Resident: residentMemory()}
}

// SettledCensus waits until what is about to end has ended: until five censuses in a row are the same, and tell of no other
// generation.
func SettledCensus(ctx context.Context, interval time.Duration, take func() (*Census, error)) (*Census, error) {
	const enough = 5
	var last *Census
	for same := 0; same < enough; time.Sleep(interval) {
		c, err := take()
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, fmt.Errorf("it does not come to rest: %w: %v", context.Cause(ctx), c)
		case c.relatives() > 0:
			same = 0
		case last != nil && c.same(last):
			same++
		default:
			same = 1
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
		case err != nil, passing(target): // an error is that of ReadDir's own
		case pairs[target]:
			count[pair]++
		default:
			count[descriptorKind(target)]++
		}
	}
	return count
}

// The kinds of descriptor by which a process is connected to other generations: to its parent, and to each of those that were
// draining already when that one was replaced. How many these are is a matter of chance.
const (
	pair  = "socket pair"
	pidfd = "pidfd" // each with a goroutine that waits for the end of the process
)

func (c *Census) relatives() int { return c.Descriptors[pair] + c.Descriptors[pidfd] }

// WithoutRelatives leaves out what depends on the number of older generations.
func (c *Census) WithoutRelatives() *Census {
	rest := *c
	rest.Goroutines -= c.Descriptors[pidfd]
	rest.Descriptors = maps.Clone(c.Descriptors)
	delete(rest.Descriptors, pair)
	delete(rest.Descriptors, pidfd)
	return &rest
}

// socketPairs gives the connected unix sockets that have no name, in the form of the links in /proc/self/fd. A connection that
// a server has accepted has the name of its listener.
func socketPairs() map[string]bool {
	const connected = "03"
	pairs := make(map[string]bool)
	table, _ := os.ReadFile("/proc/self/net/unix") // none: they count as sockets
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) == 7 && f[5] == connected {
			pairs["socket:["+f[6]+"]"] = true
		}
	}
	return pairs
}

// passing reports whether a descriptor is one of those that the runtime and the C library open at any moment, to learn how
// many processors there are, and close again soon. Neither a service nor the library has one there.
func passing(target string) bool {
	return strings.HasPrefix(target, "/sys/") || strings.HasPrefix(target, "/proc/")
}

// descriptorKind is "socket" for socket:[4711], "pidfd" for anon_inode:[pidfd], and the path for an open file.
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

// residentMemory is the VmRSS of proc_pid_status(5).
func residentMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // 0: not measured
			return kilobytes << 10
		}
	}
	return 0
}

// same reports whether what is counted exactly has not changed.
func (c *Census) same(as *Census) bool {
	return c.Goroutines == as.Goroutines && maps.Equal(c.Descriptors, as.Descriptors)
}

// open counts the descriptors.
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
