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
//   - A server closes its listeners at once. For a fifth of a second it keeps serving all
//     connections that it has accepted.
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
// GracefulStop cuts RPCs that have come through [grpc.Server.ServeHTTP]. A server that is used as a
// handler is drained by package gracehttp, and should not serve a listener of its own.
package gracegrpc
