// Package gracegrpc serves gRPC in a process that replaces itself with a new one, without failing
// an RPC.
//
//	m, err := grace.New(grace.WithLogger(slog.Default()))
//	ln, err := m.Listen(ctx, "tcp", ":50051")
//	srv := grpc.NewServer()
//	pb.RegisterChatServer(srv, &chat{draining: gracegrpc.Draining(m)})
//	err = gracegrpc.Start(m, srv, ln)
//	err = m.Run(ctx)
//
// This is a whole service: SIGHUP upgrades it, SIGTERM ends it. The program examples/clock is
// complete.
//
// # The drain
//
// When a successor serves, or the service stops, all servers drain side by side:
//
//   - If handlers of the process may depend on a server, it keeps serving for a while, as described
//     below.
//   - A server closes its listeners. For a fifth of a second it keeps serving all connections that
//     it has accepted.
//   - Then [grpc.Server.GracefulStop] tells all clients to open a new connection (GOAWAY), which
//     reaches the successor. RPCs that they have sent by then are answered on the old connection.
//     Clients of grpc-go and of other implementations do all that by themselves. A connection
//     without RPCs whose client does not react is closed after six seconds.
//   - Then [Draining] is closed, and streams that would run for long end.
//   - At the deadline ([grace.WithDrainTimeout]) [grpc.Server.Stop] cuts what is left. That is not
//     an error, but a warning in the [DrainReport]. Handlers that do not notice are left behind
//     half a second later.
//
// GracefulStop alone fails RPCs: it closes connections that the server has just accepted.
//
// When the service stops without a successor, [grace.WithStopDelay] lets the servers keep serving
// for a while before they drain.
//
// # Gateways
//
// The handlers of an HTTP server may be clients of a gRPC server of the same process, as those of
// grpc-gateway are. They have to answer what still comes on their connections in the drain:
//
//   - After an upgrade, their RPCs reach the successor, as those of other clients do.
//   - In a stop without a successor, the gRPC servers accept connections and answer until all HTTP
//     servers of package gracehttp have drained, but for at most half of the time that is left.
//     Then they drain.
//   - A server with a listener that is not the Manager's own does that in an upgrade too. Through a
//     listener in memory (bufconn), for example, its handlers cannot reach the successor.
//
// A response that streams an RPC holds the HTTP server, and [Draining] is closed only after that
// has drained, or when half of the time has passed. A gateway can end such responses at once: it
// cancels the contexts of their RPCs in gracehttp.OnDrain.
//
// # Health
//
// [Health] registers a health service that says NOT_SERVING as soon as the service begins to stop
// without a successor, and whose watchers do not hold up a drain.
//
// # Streams
//
// The drain does not cancel the context of a stream. A handler that would run for long learns of
// the drain from [Draining]:
//
//	select {
//	case message := <-messages:
//		err = stream.Send(message)
//	case <-c.draining:
//		return nil // the client calls again, and reaches the successor
//	case <-stream.Context().Done():
//		return stream.Context().Err()
//	}
//
// A handler that waits in Recv does so in a goroutine of its own, or leaves it to the client to end
// the stream. [grace.Manager.Done] is too early a moment to end a stream: its client may still call
// again on the old connection, and reach the same process.
//
// # Events
//
// The observers of the Manager ([grace.WithObserver]) are told of events of this package, and its
// logger logs them. A [DrainReport] says how the drain of each server went. A [ForeignListener]
// warns of a listener that the next process cannot take over.
//
// # Limits
//
// While a client has connected and not finished its part of the handshake, GracefulStop tells no
// client anything, and Stop waits too. grpc-go allows a handshake two minutes, which is longer than
// a drain: a server that strangers can reach should allow some seconds, with
// [grpc.ConnectionTimeout].
//
// A health service that is registered without [Health] keeps the RPCs of its watchers open. A
// client that does not end its Watch by itself holds the drain until the deadline.
//
// gRPC servers of one process that call one another drain at the same time.
//
// GracefulStop cuts RPCs that have come through [grpc.Server.ServeHTTP]. A server that is used as a
// handler is drained by package gracehttp, and should not serve a listener of its own.
package gracegrpc
