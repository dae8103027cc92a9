//go:build unix

package gracehttp_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// endAtDrain is for the ModifyResponse of a proxy. It ends streams of server-sent events when the
// proxy begins to drain. Their clients see a complete response, and connect again. They ignore an
// event of which only a part has arrived.
func endAtDrain(res *http.Response) error {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind != "text/event-stream" || res.ContentLength >= 0 { // the latter is not complete earlier
		return nil
	}
	b := &stream{ReadCloser: res.Body}
	b.forget = gracehttp.OnDrain(res.Request.Context(), b.end)
	res.Body = b
	return nil
}

// stream is the body of a response of the backend.
type stream struct {
	io.ReadCloser
	ended  atomic.Bool
	forget func() bool
}

// end makes Read return io.EOF, also while it waits for the backend.
func (b *stream) end() {
	b.ended.Store(true)
	_ = b.ReadCloser.Close() // the backend notices that nobody reads
}

func (b *stream) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.ended.Load() {
		err = io.EOF // with another error, the proxy would cut the connection to its client
	}
	return n, err
}

func (b *stream) Close() error {
	b.forget()
	return b.ReadCloser.Close()
}

// serveProxy runs a proxy.
func serveProxy(addr string) error {
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	backend, err := os.ReadFile("backend.txt")
	if err != nil {
		return m.Fail(err)
	}
	target, err := url.Parse(string(backend))
	if err != nil {
		return m.Fail(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Via", fmt.Sprint("1.1 process-", m.Status().Generation))
		},
		ModifyResponse: endAtDrain,
	}
	srv := &http.Server{Addr: addr, Handler: proxy}
	return gracehttp.ListenAndServe(context.Background(), m, srv)
}

// sendEvents is the handler of the backend. It knows nothing of upgrades.
func sendEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: hello, %s\n\n", r.Header.Get("Via"))
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done() // stands for more events
}

// A proxy ends the streams of its backend when it drains. Otherwise they would hold it until the
// drain timeout, and be cut then.
func ExampleDraining_reverseProxy() {
	backend := httptest.NewServer(http.HandlerFunc(sendEvents))
	defer backend.Close()
	service := exampletest.Start(serveProxy, // as a process
		exampletest.File{Name: "backend.txt", Content: backend.URL})
	defer service.Stop()

	events := service.Stream("/")
	fmt.Println(events.Next())

	fmt.Println(service.Upgrade()) // on SIGHUP
	fmt.Println("end:", events.Next())

	again := service.Stream("/")
	fmt.Println(again.Next())
	// Output:
	// data: hello, 1.1 process-1
	// upgrade finished
	// end: complete
	// data: hello, 1.1 process-2
}
