//go:build linux

package grace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/graceevent"
)

var listenerCounts = []int{1, 100, 1000, 10000}

// BenchmarkUpgrade measures Upgrade as the old process sees it: from the call until the successor serves. Each upgrade has the
// floor measured beside it, and "x-floor" is the ratio of the medians.
func BenchmarkUpgrade(b *testing.B) {
	for _, n := range listenerCounts {
		b.Run(fmt.Sprintf("listeners=%d", n), func(b *testing.B) {
			checkLimits(b, n)
			s := start(b, "many", config{Count: n})
			f := newFloor(b, n)
			var upgrades, floors []time.Duration
			s.timedUpgrade() // the first one has cold caches
			f.run()
			b.ResetTimer()
			for range b.N {
				upgrades = append(upgrades, s.timedUpgrade())
				floors = append(floors, f.run())
			}
			b.ReportMetric(float64(median(upgrades)), "ns/op")
			b.ReportMetric(float64(median(upgrades))/float64(median(floors)), "x-floor")
		})
	}
}

// BenchmarkFloor measures what cannot be avoided: the same binary, started with the same number of sockets, calls
// net.FileListener on each and writes one byte.
func BenchmarkFloor(b *testing.B) {
	for _, n := range listenerCounts {
		b.Run(fmt.Sprintf("listeners=%d", n), func(b *testing.B) {
			checkLimits(b, n)
			f := newFloor(b, n)
			var floors []time.Duration
			b.ResetTimer()
			for range b.N {
				floors = append(floors, f.run())
			}
			b.ReportMetric(float64(median(floors)), "ns/op")
		})
	}
}

// checkLimits says why a benchmark cannot run here.
func checkLimits(b *testing.B, listeners int) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if uint64(listeners)+100 > limit.Max {
		b.Skipf("%d listeners need as many descriptors, and the hard limit is %d", listeners, limit.Max)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// manyMain has many listeners and upgrades on SIGHUP.
func manyMain(c config) error {
	m, err := New(WithObserver(graceevent.ObserverFunc(printUpgrades)))
	if err != nil {
		return err
	}
	for range c.Count {
		if _, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	return m.Run(context.Background())
}

func printUpgrades(_ context.Context, r graceevent.Record) {
	switch r.Event.(type) {
	case graceevent.UpgradeFinished, graceevent.ReadyFinished, graceevent.ParentExited:
		printRecord(r)
	}
}

// timedUpgrade upgrades, and waits until the old process is gone.
func (s *service) timedUpgrade() time.Duration {
	s.t.Helper()
	old := s.newest()
	ready := s.Await("a process to upgrade", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == old })
	if err := unix.Kill(ready.PID, unix.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	done := s.Await("the upgrade", func(p printed) bool { return p.Event == "UpgradeFinished" && p.PID == ready.PID })
	s.awaitParentExit(old + 1)
	s.AwaitExit(ready.PID)
	if done.Err != "" {
		s.t.Fatal(done.Err)
	}
	var text string
	if _, err := fmt.Sscanf(done.Detail, "duration=%s", &text); err != nil {
		s.t.Fatal(err)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// floor is a parent with many sockets that starts a process without this library.
type floor struct {
	b         *testing.B
	listeners []*net.TCPListener
}

func newFloor(b *testing.B, n int) *floor {
	f := &floor{b: b}
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.2:0") // other ports than those of the service
		if err != nil {
			b.Fatal(err)
		}
		f.listeners = append(f.listeners, ln.(*net.TCPListener))
	}
	b.Cleanup(func() {
		for _, ln := range f.listeners {
			ln.Close()
		}
	})
	return f
}

func (f *floor) run() time.Duration {
	r, w, err := os.Pipe()
	if err != nil {
		f.b.Fatal(err)
	}
	defer r.Close()
	began := time.Now()
	files := []uintptr{0, 1, 2}
	for _, ln := range f.listeners {
		raw, err := ln.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { files = append(files, fd) })
		}
		if err != nil {
			f.b.Fatal(err)
		}
	}
	files = append(files, w.Fd())
	env := command("floor", config{Count: len(f.listeners)}).Env
	pid, _, err := syscall.StartProcess("/proc/self/exe", os.Args[:1], &syscall.ProcAttr{Env: env, Files: files})
	w.Close()
	if err != nil {
		f.b.Fatal(err)
	}
	_, readErr := r.Read(make([]byte, 1))
	took := time.Since(began)
	if _, err := unix.Wait4(pid, nil, 0, nil); errors.Join(readErr, err) != nil {
		f.b.Fatal(readErr, err)
	}
	return took
}

func floorMain(c config) error {
	for fd := 3; fd < 3+c.Count; fd++ {
		f := os.NewFile(uintptr(fd), "")
		if _, err := net.FileListener(f); err != nil {
			return err
		}
		f.Close()
	}
	_, err := os.NewFile(uintptr(3+c.Count), "").Write([]byte{1})
	return err
}

// BenchmarkAccept compares a connection through Listen with one through package net.
func BenchmarkAccept(b *testing.B) {
	m := newTestManager(b)
	graceful, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	for _, bench := range []struct {
		name string
		ln   net.Listener
	}{{"grace", graceful}, {"net", plain}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out, err := net.Dial("tcp", bench.ln.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				in, err := bench.ln.Accept()
				if err != nil {
					b.Fatal(err)
				}
				in.Close()
				if err := out.(*net.TCPConn).SetLinger(0); err != nil { // else the ports run out
					b.Fatal(err)
				}
				out.Close()
			}
		})
	}
}
