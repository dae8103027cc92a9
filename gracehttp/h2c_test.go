package gracehttp

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// hijackings records the servers that were warned of.
type hijackings struct {
	mu      sync.Mutex
	servers []*http.Server
}

func (h *hijackings) Observe(_ context.Context, rec graceevent.Record) {
	if e, ok := rec.Event.(HijackedHTTP2); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.servers = append(h.servers, e.Server)
	}
}

// takeAway hijacks each connection, as h2c.NewHandler of golang.org/x/net does with those of HTTP/2.
func takeAway(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(c, "mine")
	_ = c.Close()
}

// askToTakeOver sends a request to takeAway.
func askToTakeOver(t *testing.T, ln *pipenet.Listener, request string) {
	t.Helper()
	c, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "mine" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Handlers that hijack connections for HTTP/2 are warned of, once for each server. A WebSocket is
// not HTTP/2.
func TestHijackedHTTP2(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: "
	for name, c := range map[string]struct {
		request string
		warned  bool
	}{
		"prior knowledge": {http2Preface, true},
		"upgrade":         {upgrade + "h2c\r\n\r\n", true},
		"in capitals":     {upgrade + "H2C\r\n\r\n", true},
		"in a list":       {upgrade + "foo, h2c\r\n\r\n", true},
		"WebSocket":       {upgrade + "websocket\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testHijacked(t, c.request, c.warned) })
		})
	}
}

func testHijacked(t *testing.T, request string, warned bool) {
	var seen hijackings
	var servers []*http.Server
	m := managertest.New(t, grace.WithObserver(&seen))
	for range 2 {
		srv, ln := &http.Server{Handler: http.HandlerFunc(takeAway)}, pipenet.Listen()
		servers = append(servers, srv)
		if err := Start(m, srv, ln); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			askToTakeOver(t, ln, request)
		}
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if !warned {
		servers = nil
	}
	if !slices.Equal(seen.servers, servers) {
		t.Errorf("%d servers are warned of, want %d", len(seen.servers), len(servers))
	}
}

// The warning says what to do.
func TestHijackedHTTP2IsDescribed(t *testing.T) {
	level, message, _ := HijackedHTTP2{}.Describe()
	if level != slog.LevelWarn || !strings.Contains(message, "http.Server.Protocols") {
		t.Errorf("%v %q", level, message)
	}
}
