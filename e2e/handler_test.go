//go:build linux

package e2e

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/gracehttp"
)

// handler answers each request with what it was, and counts requests and connections.
type handler struct {
	generation      int
	busy            int64
	requests, conns atomic.Int64
}

func (h *handler) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		h.conns.Add(1)
	}
}

// testdata holds the page of the service, the configurations of the proxies and the clients that
// are not written in Go.
//
//go:embed testdata
var testdata embed.FS

// large is how many times the answer of /large repeats the id of the request.
const large = 1 << 14

func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, 0) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		h.answer(w, r, 0)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, large) })
	mux.HandleFunc("/hints", h.hints)
	mux.HandleFunc("/events", h.events)
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, testdata, "testdata/page.html")
	})
	return mux
}

// proxy returns the handler of the service: that of mux, and in front of another server with it,
// in the same process, a reverse proxy. The process ends that server.
func (h *handler) proxy() (http.Handler, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(ln, h.mux()) //nolint:errcheck // it serves until the end of the process
	backend := &url.URL{Scheme: "http", Host: ln.Addr().String()}
	mux := http.NewServeMux()
	mux.Handle("/", h.mux())
	mux.Handle("/proxy/", http.StripPrefix("/proxy", &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(backend) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 100, ExpectContinueTimeout: patience},
	}))
	return mux, nil
}

// hints answers after early hints.
func (h *handler) hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</page>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	h.answer(w, r, 0)
}

// events answers with a stream of events, which ends soon, and early if the server drains. As many
// such handlers do, it says itself that the connection is kept.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Connection", "keep-alive")
	text, _ := json.Marshal(answer{
		ID: r.FormValue("id"), Method: r.Method, Generation: h.generation, PID: os.Getpid(),
	})
	defer h.count()
	for range 20 {
		fmt.Fprintf(w, "data: %s\n\n", text)
		_ = http.NewResponseController(w).Flush() // a client that is gone ends the context
		select {
		case <-time.After(20 * time.Millisecond):
		case <-gracehttp.Draining(r.Context()):
			return
		case <-r.Context().Done():
			return
		}
	}
}

// answer is the answer of the service to a request.
type answer struct {
	ID, Method, Body string
	Generation, PID  int
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, ids int) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.FormValue("id")
	h.respond(w, answer{ID: id, Method: r.Method, Body: strings.Repeat(id, ids) + string(body)})
}

// respond sends an answer, with the process it comes from, and counts it.
func (h *handler) respond(w http.ResponseWriter, a answer) {
	a.Generation, a.PID = h.generation, os.Getpid()
	_ = json.NewEncoder(w).Encode(a) // a client that is gone needs no answer
	h.count()
}

func (h *handler) count() {
	if h.requests.Add(1) == h.busy {
		say(said{What: "busy", Generation: h.generation})
	}
}
