package gracegrpc

import (
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
)

// Start starts to serve the listener by [grpc.Server.Serve], in a goroutine of its own, and drains
// the server when the process is replaced or stops. It does not block. It is called when the
// services are registered, before [grace.Manager.Ready] or [grace.Manager.Run]: a listener from
// [grace.Manager.Listen] holds its clients back until this process is the one that serves. A
// listener from elsewhere is reported as a [ForeignListener].
//
// Start can be called several times, for several servers and for several listeners of one server.
// All servers of a Manager drain side by side, after the HTTP servers that may call them (see the
// package's documentation). The drain closes the listener and ends with [grpc.Server.GracefulStop],
// so the server cannot be used again.
//
// If serving fails, the process fails with it, as described at [grace.Manager.Go]. A server whose
// owner calls [grpc.Server.Stop] or [grpc.Server.GracefulStop] has not failed. One whose listener
// alone is closed has.
//
// Start closes the listener and returns an error if an argument is nil. It does the same if the
// process is already draining; the error then matches [grace.Manager.Cause].
func Start(m *grace.Manager, srv *grpc.Server, ln net.Listener) error {
	err := errMissing
	if m != nil && srv != nil && ln != nil {
		err = groupOf(m).start(srv, ln)
	}
	if err == nil {
		reportForeign(m, srv, ln)
		return nil
	}
	if ln != nil {
		err = errors.Join(err, closeListener(ln))
	}
	return err
}

var errMissing = errors.New("gracegrpc: the Manager, the Server and the Listener must not be nil")

// Draining returns a channel that is closed in the drain, when the servers of the Manager have told
// all clients to open a new connection for their next RPC. That is the moment for streams that
// would run for long to end: their clients call again, and reach the successor. A stream that ended
// earlier, on [grace.Manager.Done], could be opened again on its old connection, and reach this
// process. The drain does not cancel the context of a stream. At its deadline it closes the
// connection.
//
// The channel is the same for all servers and RPCs of a Manager, so the implementation of a service
// can get it before any server exists.
func Draining(m *grace.Manager) <-chan struct{} { return groupOf(m).draining }

func closeListener(ln net.Listener) error {
	if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("gracegrpc: close %s: %w", ln.Addr(), err)
	}
	return nil
}
