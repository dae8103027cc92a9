//go:build unix

package gate

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/go-grace/grace/internal/fds"
)

// BenchmarkShut interrupts an Accept in each of many listeners.
func BenchmarkShut(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("listeners=%d", n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				shutOnce(b, n)
			}
		})
	}
}

// shutOnce starts the timer for Shut alone.
func shutOnce(b *testing.B, n int) {
	set, g := fds.New(), New()
	g.Open()
	var accepting sync.WaitGroup
	for range n {
		sock, err := set.Open(b.Context(), fds.Ask{Network: "tcp", Address: "127.0.0.1:0"})
		if err != nil {
			b.Skip(err)
		}
		ln := NewListener(sock, g, net.ListenConfig{}).(*tcpListener)
		accepting.Go(func() { _, _ = ln.Accept() })
		awaitThat(b, "an Accept", func() bool { return ln.waiter.calls.count.Load() == 1 })
	}
	b.StartTimer()
	must(b, g.Shut(b.Context()))
	b.StopTimer()
	must(b, set.Close())
	g.Release()
	accepting.Wait()
}
