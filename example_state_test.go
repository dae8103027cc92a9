//go:build unix

package grace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// cache has the answers that were computed once.
type cache struct {
	mu      sync.Mutex
	answers map[string]string
}

// answer returns an answer, and reports whether it was in the cache.
func (c *cache) answer(question string) (answer string, cached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer, cached = c.answers[question]
	if !cached {
		answer = fmt.Sprintf("%q has %d letters", question, len(question)) // stands for hard work
		c.answers[question] = answer
	}
	return answer, cached
}

// encode runs in each upgrade, while the service goes on: what the cache gets after that, the new
// process computes again.
func (c *cache) encode(context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Marshal(c.answers)
}

// inheritCache returns the cache of the previous process, or an empty one in the first process.
func inheritCache(m *grace.Manager) (*cache, error) {
	c := &cache{answers: map[string]string{}}
	data, err := m.InheritedState("cache")
	if errors.Is(err, grace.ErrNotInherited) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	return c, json.Unmarshal(data, &c.answers)
}

// serveFromCache runs an HTTP service whose cache stays warm.
func serveFromCache(addr string) error {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	c, err := inheritCache(m)
	if err != nil {
		return m.Fail(err) // such as state of another version: the previous process keeps serving
	}
	if err := m.PassState("cache", c.encode); err != nil {
		return err
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, cached := c.answer(r.URL.Query().Get("q"))
		fmt.Fprintf(w, "%s (process %d, cached: %t)", answer, m.Status().Generation, cached)
	})}
	m.Append(grace.Hook{Name: "http", OnDrain: srv.Shutdown})
	m.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return m.Run(ctx)
}

// State goes from process to process in memory.
func ExampleManager_PassState() {
	service := exampletest.Start(serveFromCache) // as a process
	defer service.Stop()
	fmt.Println(service.Get("/?q=grace"))
	fmt.Println(service.Get("/?q=grace"))

	fmt.Println(service.Upgrade()) // on SIGHUP
	fmt.Println(service.Get("/?q=grace"))
	// Output:
	// 200 "grace" has 5 letters (process 1, cached: false)
	// 200 "grace" has 5 letters (process 1, cached: true)
	// upgrade finished
	// 200 "grace" has 5 letters (process 2, cached: true)
}
