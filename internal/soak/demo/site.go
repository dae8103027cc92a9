package demo

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// The path and the headers in the HTTP conversation between client and site.
const (
	slowPath         = "/slow"
	idHeader         = "X-Request-Id"
	pidHeader        = "X-Pid"
	generationHeader = "X-Generation"
)

// site is the handler of all servers. Each answer repeats the id and the body of its request, and
// names the process that answers.
type site struct {
	generation int
	handled    atomic.Int64
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path == slowPath {
		time.Sleep(20*time.Millisecond + rand.N(30*time.Millisecond))
	}
	s.handled.Add(1)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set(pidHeader, strconv.Itoa(os.Getpid()))
	w.Header().Set(generationHeader, strconv.Itoa(s.generation))
	_, _ = fmt.Fprintf(w, "%s\n%s", r.Header.Get(idHeader), body) // fails if the client is gone
}

// leave reports that the process is about to exit.
func (s *site) leave() {
	lineage.Send(lineage.Report{
		What: lineage.Left, Generation: s.generation, Handled: s.handled.Load(),
	})
}
