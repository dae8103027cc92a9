//go:build unix

package grace_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// runDir is where each process has a socket of its own, such as /run/hello.
const runDir = "."

func healthSocket(pid int) string { return filepath.Join(runDir, fmt.Sprintf("%d.sock", pid)) }

// serveHealth answers whoever asks this process about its health. Its socket is opened by package
// net. Sockets of the Manager are passed on and shared: the old process might answer for the new
// one, and a later process would inherit the socket under the wrong name.
func serveHealth(health http.Handler) (stop func() error, err error) {
	path := healthSocket(os.Getpid())
	if err := os.RemoveAll(path); err != nil { // left by a process of this number that crashed
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: health}
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("health is no longer served", "error", err) // health checks fail from now on
		}
	}()
	return srv.Close, nil
}

// checkHealth runs in the old process, and asks the new one.
func checkHealth(ctx context.Context, successor grace.Process) error {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", healthSocket(successor.PID))
		},
		DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://successor/healthz", nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the new process is not healthy: %s", res.Status)
	}
	return nil
}

// serveOnProbation runs a service whose new processes are watched for a while before they replace
// the old one.
func serveOnProbation(addr string) error {
	ctx := context.Background()
	m, err := grace.New(
		grace.WithLogger(slog.Default()),
		grace.WithProbation(time.Second, grace.WithHealthCheck(checkHealth)), // rather a minute
	)
	if err != nil {
		return err
	}
	stop, err := serveHealth(http.HandlerFunc(health)) // before this process is ready
	if err != nil {
		return m.Fail(err)
	}
	defer stop() //nolint:errcheck // the process ends
	ln, err := m.Listen(ctx, "tcp", addr)
	if err != nil {
		return m.Fail(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "Hello from process %d!", m.Status().Generation)
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

// health answers with an error if this process cannot reach its database.
func health(w http.ResponseWriter, _ *http.Request) {
	if _, err := os.Stat("database"); err != nil { // stands for a query
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// A new process that comes up but is not healthy does not replace the old one.
func ExampleWithHealthCheck() {
	service := exampletest.Start(serveOnProbation) // as a process
	defer service.Stop()

	fmt.Println(service.Upgrade()) // on SIGHUP
	fmt.Println(service.Get("/"))

	service.Install(exampletest.File{Name: "database", Content: ""})
	fmt.Println(service.Upgrade())
	fmt.Println(service.Get("/"))
	// Output:
	// upgrade failed
	// 200 Hello from process 1!
	// upgrade finished
	// 200 Hello from process 2!
}
