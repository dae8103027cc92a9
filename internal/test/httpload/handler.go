package httpload

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What requests and answers say of themselves.
const (
	idHeader     = "X-Id"
	methodHeader = "X-Method"
	waitHeader   = "X-Wait"   // how long the Handler is to take
	blocksHeader = "X-Blocks" // how long the answer is to be
	trailer      = "X-Check"

	saysHeader    = "X-Says"    // the Connection header of the answer
	interimHeader = "X-Interim" // a code that is to be sent before the final one
	heedHeader    = "X-Heed"    // whether the Handler is to stop waiting when it drains
)

// The paths of the Handler.
const (
	echoPath   = "/echo"
	unreadPath = "/unread"
	streamPath = "/stream"
	largePath  = "/large"
	filePath   = "/file"
	eventsPath = "/sent-events"
	proxyPath  = "/proxy"
	talkPath   = "/talk"

	everything = "*" // what package http answers in place of the Handler
)

// streamTick is the time between two blocks of a stream.
const streamTick = 25 * time.Millisecond

// What a file has that WriteFile has written.
const fileBlocks = 300

var fileBlock = blockOf("What is read from a file need not pass through the process.\n")

// WriteFile writes what a Handler sends as a large answer from a file.
func WriteFile(name string) error {
	return os.WriteFile(name, []byte(strings.Repeat(fileBlock, fileBlocks)), 0o600)
}

// Handler answers the clients of a load at its paths, such as /echo. An answer repeats the id, the
// method and the body of its request. It is safe for use by several goroutines.
type Handler struct {
	File string // the name of one that [WriteFile] has written; without it, the kind "file" fails

	// Draining and OnDrain are those of package gracehttp. Without them, the Handler never learns
	// of a drain.
	Draining func(context.Context) <-chan struct{}
	OnDrain  func(context.Context, func()) (stop func() bool)

	handled atomic.Int64
}

// Handled tells how many requests there were.
func (h *Handler) Handled() int64 { return h.handled.Load() }

// ServeHTTP implements [http.Handler]. A client that is gone is its own concern: it does not have
// the right answer.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.handled.Add(1)
	switch r.URL.Path {
	case proxyPath:
		proxy.ServeHTTP(w, r)
		return
	case talkPath:
		h.startTalk(w, r)
		return
	}
	h.begin(w, r)
	id := r.Header.Get(idHeader)
	a := answer{head: firstLine(r.Method, id)}
	if n, err := strconv.Atoi(r.Header.Get(blocksHeader)); err == nil {
		a.block, a.blocks = blockOf(id+"\n"), n
	}
	switch r.URL.Path {
	case echoPath:
		echo(w, r, a)
	case unreadPath, largePath:
		_, _ = io.Copy(w, a.reader())
	case streamPath:
		h.stream(w, r, a)
	case eventsPath:
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		h.stream(w, r, a)
	case filePath:
		h.sendFile(w, a)
	default:
		http.NotFound(w, r)
	}
}

// begin does what a request wishes before its answer.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(idHeader, r.Header.Get(idHeader))
	w.Header().Set(methodHeader, r.Method)
	if says := r.Header.Get(saysHeader); says != "" {
		w.Header().Set("Connection", says)
	}
	sendInterim(w, r)
	if wait, err := time.ParseDuration(r.Header.Get(waitHeader)); err == nil {
		h.wait(r, wait)
	}
}

func echo(w http.ResponseWriter, r *http.Request, a answer) {
	body, err := readBody(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, a.head+body+r.Trailer.Get(trailer))
}

// stream sends a block at a time. One that heeds the drain sends the rest at once then.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, a answer) {
	_, _ = io.WriteString(w, a.head)
	for range a.blocks {
		_ = http.NewResponseController(w).Flush()
		h.wait(r, streamTick)
		_, _ = io.WriteString(w, a.block)
	}
}

// wait returns after d, or when the server drains if the request says so.
func (h *Handler) wait(r *http.Request, d time.Duration) {
	var draining <-chan struct{}
	if h.Draining != nil && r.Header.Get(heedHeader) != "" {
		draining = h.Draining(r.Context())
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-draining:
	}
}

// sendInterim sends the interim answers that a request asks for.
func sendInterim(w http.ResponseWriter, r *http.Request) {
	for _, code := range interimOf(r) {
		w.Header().Set("Link", linkOf(r))
		w.WriteHeader(code)
	}
}

// interimOf returns the codes of the interim answers that a request asks for.
func interimOf(r *http.Request) (codes []int) {
	for _, value := range r.Header[interimHeader] {
		if code, err := strconv.Atoi(value); err == nil && isInterim(code) {
			codes = append(codes, code)
		}
	}
	return codes
}

// linkOf is a hint for the client, which it need not follow.
func linkOf(r *http.Request) string {
	return "</style.css?" + r.Header.Get(idHeader) + ">; rel=preload"
}

// sendFile lets the system send the file: with its length known, package http has the connection
// read it.
func (h *Handler) sendFile(w http.ResponseWriter, a answer) {
	f, err := os.Open(h.File)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close() //nolint:errcheck // only read
	w.Header().Set("Content-Length", strconv.Itoa(len(a.head)+fileBlocks*len(fileBlock)))
	_, _ = io.WriteString(w, a.head)
	_, _ = io.Copy(w, f)
}
