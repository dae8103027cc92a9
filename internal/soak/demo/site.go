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
)

// Of the HTTP conversation between client and site.
const (
	slowPath         = "/slow"
	idHeader         = "X-Request-Id"
	pidHeader        = "X-Pid"
	generationHeader = "X-Generation"
)

// site is what the servers serve: each answer repeats the id and the body of its request, and says which process gave it.
type site struct {
	generation int
	served     atomic.Int64
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
	s.served.Add(1)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set(pidHeader, strconv.Itoa(os.Getpid()))
	w.Header().Set(generationHeader, strconv.Itoa(s.generation))
	_, _ = fmt.Fprintf(w, "%s\n%s", r.Header.Get(idHeader), body) // a client that has gone will not miss it
}
