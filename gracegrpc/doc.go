// Package gracegrpc serves gRPC in a process that replaces itself by a new one, and fails no RPC with it.
//
//	m, err := grace.New(grace.WithLogger(slog.Default()))
//	ln, err := m.Listen(ctx, "tcp", ":50051")
//	srv := grpc.NewServer()
//	pb.RegisterChatServer(srv, &chat{draining: gracegrpc.Draining(m)})
//	err = gracegrpc.Serve(m, srv, ln)
//	err = m.Run(ctx) // SIGHUP upgrades, SIGTERM ends; nil when all is drained
//
// is a whole service. The program examples/clock is complete.
//
// # The drain
//
// When a successor serves, or the service stops, all servers drain side by side, whatever the OnDrain hooks of others do:
//
//   - A server closes its listeners at once. For a fifth of a second it goes on with all connections that it has accepted.
//   - Then [grpc.Server.GracefulStop] tells all clients to open a new connection (GOAWAY), which gets to the successor. What they
//     have called by then is answered, on the old one. Clients of grpc-go and of other implementations do all that by themselves;
//     a connection without RPCs whose client does not react is closed after six seconds.
//   - Then [Draining] is closed, and streams that would go on for long come to an end.
//   - At the deadline ([grace.WithDrainTimeout]) [grpc.Server.Stop] cuts what is left, and the drain has an error. Handlers that do
//     not notice are left behind half a second later.
//
// GracefulStop alone fails RPCs: it closes connections that the server has accepted a moment before.
//
// # Streams
//
// The context of a stream is not cancelled by the drain. A handler that would go on for long finds out by [Draining]:
//
//	select {
//	case message := <-messages:
//		err = stream.Send(message)
//	case <-c.draining:
//		return nil // the client calls again, and gets to the successor
//	case <-stream.Context().Done():
//		return stream.Context().Err()
//	}
//
// One that waits in Recv does so in a goroutine of its own, or leaves it to its client to end the stream. [grace.Manager.Done] is
// too early a moment to end a stream: its client may still call again on the old connection, and get to the same process.
//
// # Reports
//
// A [DrainReport] tells how the drain of each server went. Observers ([grace.WithObserver]) get it in a [grace.Reported] event, and the
// logger of the Manager logs it.
//
// # Limits
//
// GracefulStop says nothing to any client while another one has connected and not finished its part of the handshake, and Stop waits
// for that too. grpc-go allows two minutes, which is longer than a drain: servers that strangers can reach should allow some seconds,
// by [grpc.ConnectionTimeout].
//
// GracefulStop cuts RPCs that have come by [grpc.Server.ServeHTTP]. A server that is used as a handler is drained by package gracehttp,
// and should serve no listener of its own.
package gracegrpc
