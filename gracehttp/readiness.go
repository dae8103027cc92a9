package gracehttp

import (
	"errors"
	"io"
	"net/http"

	"github.com/go-grace/grace"
)

// Readiness returns a handler for the health checks of load balancers. It responds with 200 while
// the service can take requests, and with 503 before the first process is ready and as soon as the
// service stops. With [grace.WithStopDelay] the service takes requests for a while longer, so that
// load balancers can react.
//
// It also responds with 200 in an old process that drains. Such a check has come on a connection
// from before the upgrade, and the successor serves.
func Readiness(m *grace.Manager) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		message := "ready\n"
		if !isReady(m) {
			w.WriteHeader(http.StatusServiceUnavailable)
			message = "not ready\n"
		}
		_, _ = io.WriteString(w, message) // a client that is gone needs no answer
	})
}

func isReady(m *grace.Manager) bool {
	if cause := m.Cause(); cause != nil {
		return !errors.Is(cause, grace.ErrShutdown)
	}
	state := m.Status().State
	return state != grace.StateStarting && state != grace.StateStopping
}
