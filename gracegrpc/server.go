package gracegrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
)

// stopTime is how long handlers may take to notice that their RPCs are cut. Stop itself can take longer: it waits for clients that
// have connected and not said anything yet.
const stopTime = 500 * time.Millisecond

// server is a grpc.Server with what its drain needs.
type server struct {
	*grpc.Server
	listeners []net.Listener

	began    time.Time     // of the drain
	closeErr error         // of the listeners
	drained  chan struct{} // closed when no RPC is left
	took     time.Duration // until then; set before
}

// closeListeners begins the drain: clients that connect from now on get to the successor.
func (s *server) closeListeners() {
	s.began = time.Now()
	var errs []error
	for _, ln := range s.listeners {
		errs = append(errs, closeListener(ln))
	}
	s.closeErr = errors.Join(errs...)
}

// drain sends GOAWAY on all connections, and waits for the RPCs.
func (s *server) drain() {
	s.GracefulStop()
	s.took = time.Since(s.began)
	close(s.drained)
}

// finish waits for the end of the drain, and cuts what is left when the context ends.
func (s *server) finish(ctx context.Context) (DrainReport, error) {
	report := DrainReport{Server: s.Server, Addrs: s.addrs()}
	if s.await(ctx) {
		report.Duration = s.took
		return report, s.closeErr
	}
	s.cut()
	report.Duration, report.Cut = time.Since(s.began), true
	return report, errors.Join(s.closeErr, fmt.Errorf("gracegrpc: the server of %s had not finished, and was stopped: %w", report.addrs(), context.Cause(ctx)))
}

// await reports whether the drain has ended. That may be long ago when the context ends, if the hooks of others took their time.
func (s *server) await(ctx context.Context) bool {
	select {
	case <-s.drained:
	case <-ctx.Done():
	}
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}

// cut closes the connections, and gives the handlers a moment to return.
func (s *server) cut() {
	go s.Stop() // ends with the process at the latest
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-s.drained:
	case <-timer.C:
	}
}

func (s *server) addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, ln := range s.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}
