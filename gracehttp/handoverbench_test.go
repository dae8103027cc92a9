//go:build linux

package gracehttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace"
)

// BenchmarkHandover measures upgrades that hand over idle connections, each of which has had a
// request. "conns/s" is their number divided by the time from the beginning of the drain until the
// successor has the last of them, and "cpu-µs/conn" the processor time of both processes. "x-bare"
// and "x-bare-cpu" are the ratios to what two processes need that only pass as many sockets, see
// passBare. All are medians. "old-B/conn" and "new-B/conn" are the resident memory of both after
// the hand-over, and "left-B/conn" that of the old process a while later, without that of a process
// that has no connections.
func BenchmarkHandover(b *testing.B) {
	for _, n := range []int{1000, 9500} {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) { benchmarkHandover(b, n) })
	}
}

func benchmarkHandover(b *testing.B, n int) {
	checkLimit(b, 2*n)
	r := newHandoverRun(b, n)
	var ours, bare []said
	for range b.N {
		bare = append(bare, passBare(b, n))
		ours = append(ours, r.handOver())
	}
	took, spent := median(ours)
	bareTook, bareSpent := median(bare)
	b.ReportMetric(float64(n)/took.Seconds(), "conns/s")
	b.ReportMetric(float64(took)/float64(bareTook), "x-bare")
	b.ReportMetric(float64(spent)/float64(bareSpent), "x-bare-cpu")
	b.ReportMetric(float64(spent.Microseconds())/float64(n), "cpu-µs/conn")
	b.ReportMetric(float64(r.old-r.empty)/float64(n), "old-B/conn")
	b.ReportMetric(float64(r.freed-r.empty)/float64(n), "left-B/conn")
	b.ReportMetric(float64(r.next-r.empty)/float64(n), "new-B/conn")
	b.ReportMetric(0, "ns/op")
}

// checkLimit says why a benchmark cannot run here. Package os has raised the limit to the maximum.
func checkLimit(b *testing.B, conns int) {
	b.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if uint64(conns)+200 > limit.Cur {
		b.Skipf("%d connections need as many descriptors, and the limit is %d", conns, limit.Cur)
	}
}

// median returns the medians of both times.
func median(all []said) (took, spent time.Duration) {
	by := func(value func(said) time.Duration) time.Duration {
		slices.SortFunc(all, func(a, b said) int { return cmp.Compare(value(a), value(b)) })
		return value(all[len(all)/2])
	}
	return by(func(l said) time.Duration { return l.Duration }),
		by(func(l said) time.Duration { return l.CPU })
}

// handoverRun is a service with idle connections.
type handoverRun struct {
	*service
	b         *testing.B
	conns     []*connection
	empty     int // the resident memory of a process without connections
	old, next int // that after the hand-over
	freed     int // that of the old process a while later
}

func newHandoverRun(b *testing.B, n int) *handoverRun {
	r := &handoverRun{
		service: start(b, config{Idle: true, Grace: patience, Conns: n}),
		b:       b,
	}
	r.empty = rss(b, r.AwaitReady(1))
	for range n {
		c := r.connect()
		c.get("/who") // before the ReadHeaderTimeout
		r.conns = append(r.conns, c)
	}
	b.Cleanup(func() {
		hangUp(r.conns)
		r.stop()
	})
	return r
}

// hangUp closes connections in a way that does not use up the ports.
func hangUp(conns []*connection) {
	for _, c := range conns {
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// handOver upgrades the service. A hijacked connection keeps the old process until its memory is
// measured.
func (r *handoverRun) handOver() said {
	generation, pid := r.Newest()
	askAll(r.b, r.conns, fmt.Sprint(generation))
	hijacked := r.connect()
	_, err := io.WriteString(hijacked, "GET /hijack HTTP/1.1\r\nHost: test\r\n\r\n")
	if err == nil {
		_, err = hijacked.reader.ReadString('\n')
	}
	if err != nil {
		r.b.Fatal(err)
	}
	next := r.Upgrade()
	done := r.Await("the hand-over", func(l said) bool {
		return l.What == "handed over" && l.Generation == generation
	})
	r.old, r.next = rss(r.b, pid), rss(r.b, next)
	done.CPU += cpuOf(r.b, next) // with the start of the process
	r.awaitFreed(pid)
	hijacked.Close()
	r.awaitLeft(generation)
	return done
}

// awaitFreed waits until a process has returned most of its memory, for some seconds at most.
func (r *handoverRun) awaitFreed(pid int) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r.freed = rss(r.b, pid)
		if r.freed-r.empty < (r.old-r.empty)/4 || time.Now().After(end) {
			return
		}
	}
}

// noteHandover is an OnDrain hook that tells how long a hand-over takes.
func (c config) noteHandover(m *grace.Manager, s *server) func(context.Context) error {
	return func(ctx context.Context) error {
		if !errors.Is(m.Cause(), grace.ErrUpgraded) {
			return nil
		}
		began, spent := time.Now(), cpu(unix.RUSAGE_SELF)
		for s.transfers.transferred.Load() < int64(c.Conns) {
			if !pause(ctx, time.Millisecond) {
				return nil
			}
		}
		say(said{
			What: "handed over", Generation: m.Status().Generation,
			Duration: time.Since(began), CPU: cpu(unix.RUSAGE_SELF) - spent,
		})
		return nil
	}
}

// cpu returns the processor time that this process, or its children, have used.
func cpu(who int) time.Duration {
	var use unix.Rusage
	_ = unix.Getrusage(who, &use) // it does not fail for these
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// cpuOf returns the processor time that another process has used, in clock ticks of 10 ms.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss returns the resident memory of a process, in bytes.
func rss(b *testing.B, pid int) (bytes int) {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscanf(after, "%d kB", &bytes); err != nil {
		b.Fatal(err)
	}
	return bytes << 10
}
