//go:build linux

package gracehttp

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/httpload"
)

// handler serves clients of all kinds.
type handler struct {
	m     *grace.Manager
	load  httpload.Handler
	drain sync.Once
}

func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", &h.load)
	mux.HandleFunc("/events", h.events)
	mux.HandleFunc("/hijack", h.hijack)
	mux.HandleFunc("/who", h.who)
	mux.HandleFunc("/socket", h.socket)
	mux.Handle("/ready", Readiness(h.m))
	return mux
}

// events is a stream that ends when the drain begins.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "data: hello")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-Draining(r.Context()):
		fmt.Fprintf(w, "data: draining %v\n", r.Context().Err())
	case <-r.Context().Done():
	}
}

// hijack takes the connection over. It says that the drain has begun, and ends after a line of the
// client.
func (h *handler) hijack(w http.ResponseWriter, r *http.Request) {
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	go func() { // ends with the connection
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
		<-Draining(r.Context())
		fmt.Fprintln(c, "draining")
		_, _ = buf.ReadString('\n')
		fmt.Fprintln(c, "bye")
	}()
}

// who responds with the generation. After the first request, the test is told when the drain
// begins.
func (h *handler) who(w http.ResponseWriter, r *http.Request) {
	generation := h.m.Status().Generation
	h.drain.Do(func() {
		OnDrain(r.Context(), func() { say(said{What: "draining", Generation: generation}) })
	})
	fmt.Fprint(w, generation)
}

// connKey is the key of the connection in the context of a request.
type connKey struct{}

// tune changes the options of a connection's socket.
func tune(nc net.Conn) {
	c, ok := nc.(interface {
		SetNoDelay(bool) error
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if !ok {
		return
	}
	_ = c.SetNoDelay(false)
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: 77 * time.Second, Interval: 11 * time.Second, Count: 4,
	})
}

const tuned = "no delay 0, keep-alive 1, 77, 11, 4"

// socket responds with the options of the connection's socket.
func (h *handler) socket(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(syscall.Conn)
	if !ok {
		http.Error(w, "no socket", http.StatusInternalServerError)
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var values [5]any
	_ = raw.Control(func(fd uintptr) { // a closed one shows as no values
		for i, o := range [5][2]int{
			{syscall.IPPROTO_TCP, syscall.TCP_NODELAY},
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
		} {
			values[i], _ = syscall.GetsockoptInt(int(fd), o[0], o[1])
		}
	})
	fmt.Fprintf(w, "no delay %v, keep-alive %v, %v, %v, %v", values[:]...)
}
