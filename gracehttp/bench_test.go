//go:build linux

package gracehttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/managertest"
)

// BenchmarkRequest measures requests on one connection, and BenchmarkConnection requests on one
// connection each, both next to an http.Server on its bare listener. "x-bare" is the ratio of the
// processor times, including that of the client: the median of many short measurements that take
// turns. The other figures are the additional allocations.
func BenchmarkRequest(b *testing.B) { compare(b, (*requester).ask) }

// BenchmarkConnection: see BenchmarkRequest.
func BenchmarkConnection(b *testing.B) {
	compare(b, func(r *requester) {
		r.ask()
		r.hangUp()
	})
}

// BenchmarkHTTP2 measures the same for HTTP/2 with the client of net/http.
func BenchmarkHTTP2(b *testing.B) {
	b.Run("Request", func(b *testing.B) { compareWith(b, nil, (*requester).askHTTP2) })
	b.Run("Connection", func(b *testing.B) {
		compareWith(b, nil, func(r *requester) {
			r.askHTTP2()
			r.http2.CloseIdleConnections()
		})
	})
}

const benchBatch = 200 // operations in one measurement

// withAndWithoutHandover has the options of two servers, by name.
var withAndWithoutHandover = map[string][]Option{
	"default":          nil,
	"WithIdleHandover": {WithIdleHandover()},
}

func compare(b *testing.B, op func(*requester)) {
	for name, opts := range withAndWithoutHandover {
		b.Run(name, func(b *testing.B) { compareWith(b, opts, op) })
	}
}

func compareWith(b *testing.B, opts []Option, op func(*requester)) {
	bare, ours := startBare(b), startOurs(b, opts)
	var ratios []float64
	var more cost
	for range (b.N + benchBatch - 1) / benchBatch {
		without, with := bare.measure(op), ours.measure(op)
		ratios = append(ratios, float64(with.cpu)/float64(without.cpu))
		more.allocs += with.allocs - without.allocs
		more.bytes += with.bytes - without.bytes
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
	b.ReportMetric(float64(more.allocs)/float64(len(ratios)*benchBatch), "more-allocs/op")
	b.ReportMetric(float64(more.bytes)/float64(len(ratios)*benchBatch), "more-B/op")
}

// requester sends requests to a server.
type requester struct {
	b    *testing.B
	addr string
	conn net.Conn // nil while there is none
	in   *bufio.Reader

	http2 *http.Transport
}

func newRequester(b *testing.B, addr string) *requester {
	return &requester{b: b, addr: addr, http2: &http.Transport{Protocols: http2Only()}}
}

func benchServer() *http.Server {
	both := http2Only()
	both.SetHTTP1(true)
	return &http.Server{
		Handler:   names("ok"),
		Protocols: both,
	}
}

func startBare(b *testing.B) *requester {
	ln := listen(b)
	srv := benchServer()
	go srv.Serve(ln) //nolint:errcheck // ends with Close
	r := newRequester(b, ln.Addr().String())
	b.Cleanup(func() { r.hangUp(); srv.Close() })
	return r
}

func startOurs(b *testing.B, opts []Option) *requester {
	m := managertest.New(b)
	ln, err := m.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err == nil {
		err = Start(m, benchServer(), ln, append(opts, WithIdleGrace(0))...)
	}
	if err == nil {
		err = m.Ready(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	r := newRequester(b, ln.Addr().String())
	b.Cleanup(func() {
		r.hangUp()
		if err := m.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return r
}

func (r *requester) ask() {
	if r.conn == nil {
		var err error
		if r.conn, err = net.Dial("tcp", r.addr); err != nil {
			r.b.Fatal(err)
		}
		r.in = bufio.NewReader(r.conn)
	}
	if _, err := io.WriteString(r.conn, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		r.b.Fatal(err)
	}
	for end := false; !end; {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			r.b.Fatal(err)
		}
		end = len(line) == 2
	}
	if _, err := r.in.Discard(len("ok")); err != nil {
		r.b.Fatal(err)
	}
}

func (r *requester) askHTTP2() {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.addr, nil)
	if err != nil {
		r.b.Fatal(err)
	}
	resp, err := r.http2.RoundTrip(req)
	if err != nil {
		r.b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		r.b.Fatal(err)
	}
	_ = resp.Body.Close()
}

// hangUp closes the connection in a way that does not use up the ports.
func (r *requester) hangUp() {
	r.http2.CloseIdleConnections()
	if r.conn != nil {
		_ = r.conn.(*net.TCPConn).SetLinger(0)
		_ = r.conn.Close()
		r.conn = nil
	}
}

// cost is the cost of a batch.
type cost struct {
	cpu           time.Duration
	allocs, bytes int64
}

func (r *requester) measure(op func(*requester)) cost {
	before := r.spent()
	for range benchBatch {
		op(r)
	}
	after := r.spent()
	return cost{
		cpu:    after.cpu - before.cpu,
		allocs: after.allocs - before.allocs,
		bytes:  after.bytes - before.bytes,
	}
}

func (r *requester) spent() cost {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		r.b.Fatal(err)
	}
	return cost{
		cpu:    time.Duration(use.Utime.Nano() + use.Stime.Nano()),
		allocs: int64(mem.Mallocs),
		bytes:  int64(mem.TotalAlloc),
	}
}
