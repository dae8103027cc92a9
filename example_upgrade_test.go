//go:build unix

package grace_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// serveUpgrades runs an HTTP service that replaces itself on POST /upgrade. (Package gracehttp
// serves HTTP with less code, and drains HTTP/2 connections and WebSockets too.)
func serveUpgrades(addr string) error {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	greeting, err := os.ReadFile("greeting.txt")
	if err != nil {
		return m.Fail(err) // Upgrade in the old process returns the reason
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err != nil {
		return m.Fail(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(greeting)
	})
	mux.HandleFunc("POST /upgrade", upgradeHandler(m)) // for operators: protect it in a real service
	srv := &http.Server{Handler: mux}
	m.Append(grace.Hook{Name: "http", OnDrain: srv.Shutdown})
	m.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return m.Run(ctx)
}

// upgradeHandler upgrades, unless the client goes away while the new process starts.
func upgradeHandler(m *grace.Manager) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := m.Upgrade(r.Context())
		failed, ok := errors.AsType[*grace.UpgradeError](err)
		switch {
		case err == nil:
			// The new process serves. This one drains, so OnDrain waits for this answer.
			fmt.Fprintln(w, "upgraded")
		case ok:
			// This process keeps serving as before, and can try again.
			text := fmt.Sprintf("failed at %s: %v", failed.Step, failed.Err)
			http.Error(w, text, http.StatusBadGateway)
		default:
			// Nothing has begun: this process is not ready, is upgrading already, or drains.
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}
}

// An upgrade on request tells the operator its outcome. After a failed one the old process serves
// as before.
func ExampleManager_Upgrade() {
	service := exampletest.Start(serveUpgrades, exampletest.File{Name: "greeting.txt", Content: "Hello!"}) // as a process
	defer service.Stop()
	fmt.Println(service.Get("/"))

	service.Remove("greeting.txt")
	fmt.Println(service.Post("/upgrade"))
	fmt.Println(service.Get("/"))

	service.Install(exampletest.File{Name: "greeting.txt", Content: "Good morning!"})
	fmt.Println(service.Post("/upgrade"))
	service.Follow()
	fmt.Println(service.Get("/"))
	// Output:
	// 200 Hello!
	// 502 failed at ready: the successor cannot serve: open greeting.txt: no such file or directory
	// 200 Hello!
	// 200 upgraded
	// 200 Good morning!
}
