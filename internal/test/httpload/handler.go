package httpload

import (
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
)

// The paths of the Handler.
const (
	echoPath   = "/echo"
	unreadPath = "/unread"
	streamPath = "/stream"
	largePath  = "/large"
	filePath   = "/file"
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

// Handler answers the clients of a load at the paths /echo, /unread, /stream, /large and /file. An
// answer repeats the id, the method and the body of its request. It is safe for use by several
// goroutines.
type Handler struct {
	File string // the name of one that [WriteFile] has written; without it, the kind "file" fails

	handled atomic.Int64
}

// Handled tells how many requests there were.
func (h *Handler) Handled() int64 { return h.handled.Load() }

// ServeHTTP implements [http.Handler]. A client that is gone is its own concern: it does not have
// the right answer.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.handled.Add(1)
	id := r.Header.Get(idHeader)
	w.Header().Set(idHeader, id)
	w.Header().Set(methodHeader, r.Method)
	if wait, err := time.ParseDuration(r.Header.Get(waitHeader)); err == nil {
		time.Sleep(wait)
	}
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
		stream(w, a)
	case filePath:
		h.sendFile(w, a)
	default:
		http.NotFound(w, r)
	}
}

func echo(w http.ResponseWriter, r *http.Request, a answer) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, a.head+string(body)+r.Trailer.Get(trailer))
}

// stream sends a block at a time.
func stream(w http.ResponseWriter, a answer) {
	_, _ = io.WriteString(w, a.head)
	for range a.blocks {
		_ = http.NewResponseController(w).Flush()
		time.Sleep(streamTick)
		_, _ = io.WriteString(w, a.block)
	}
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
