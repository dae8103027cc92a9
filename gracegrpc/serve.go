package gracegrpc

import (
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
)

// Serve serves the listener by [grpc.Server.Serve] in a goroutine of its own, and drains the server when the process is replaced or
// stops. It does not block, and is called when the services are registered, before [grace.Manager.Ready] or [grace.Manager.Run]: a
// listener from [grace.Manager.Listen] holds its clients back until the process is the one that serves.
//
// It can be called several times, for several servers and for several listeners of one server. All servers of a Manager drain
// side by side. The drain closes the listener, and ends with [grpc.Server.GracefulStop], so a server cannot be used again.
//
// If serving fails, the process cannot: see [grace.Manager.Go] for what follows. A server that its owner ends by
// [grpc.Server.Stop] or [grpc.Server.GracefulStop] has not failed; closing the listener alone is a failure.
//
// Serve returns an error, having closed the listener, if an argument is nil, or if the process drains already; it then matches
// [grace.Manager.Cause].
func Serve(m *grace.Manager, srv *grpc.Server, ln net.Listener) error {
	err := errMissing
	if m != nil && srv != nil && ln != nil {
		err = groupOf(m).serve(srv, ln)
	}
	if err != nil && ln != nil {
		err = errors.Join(err, closeListener(ln))
	}
	return err
}

var errMissing = errors.New("gracegrpc: the Manager, the Server and the Listener must not be nil")

// Draining gives a channel that is closed in the drain, when the servers of the Manager have told all clients to open a new
// connection for their next RPC. That is the moment for streams which would go on for long to come to an end: their clients call
// again, and get to the successor. A stream that ended earlier, by [grace.Manager.Done], could be opened anew on its old connection,
// and get to this process again. The context of a stream is not cancelled by the drain; at the deadline its connection is closed.
//
// The channel is the same for all servers and RPCs of a Manager, so what implements a service can get it when it is made.
func Draining(m *grace.Manager) <-chan struct{} { return groupOf(m).draining }

func closeListener(ln net.Listener) error {
	if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("gracegrpc: close %s: %w", ln.Addr(), err)
	}
	return nil
}
