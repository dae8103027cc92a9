// Package gracehttp serves HTTP in a process that replaces itself by a new one, and loses no request with it.
//
//	m, err := grace.New(grace.WithLogger(slog.Default()))
//	...
//	err = gracehttp.ListenAndServe(ctx, m, &http.Server{Addr: ":8080", Handler: mux})
//
// is a whole service: SIGHUP upgrades it, SIGTERM ends it. Services with more servers or listeners call [Start] or [StartTLS] for
// each, and then [grace.Manager.Run]. The program examples/http is complete.
//
// # The drain
//
// When a successor serves, or the service stops, each server drains:
//
//   - It closes its listeners, and goes on with all connections that it has accepted. Those on which nothing has come yet are handed
//     to the successor, with or without TLS: until its first byte, a connection waits with the listener, and http.Server does not
//     know it.
//   - In HTTP/1, the next answer on a connection is its last one, and says so (Connection: close), so that the client connects anew:
//     to the successor. A connection without a request is kept for a grace ([WithIdleGrace], 5 seconds), which begins anew with an
//     answer that could not say so, as it had begun before the drain.
//   - In HTTP/2, with or without TLS, the client is told to open no more streams, by a GOAWAY that refuses none and a PING: at once if
//     the connection is idle, else after the next answer. Many clients then close the connection when they have got their answers. If
//     not, that is done when the client has answered the PING and nothing has come for a second, or four times as long as that took. The
//     grace is for a client that has not sent a request yet, and for one of which nothing is heard any more. One that goes on after the
//     grace is told again, by a GOAWAY that refuses what it sends from then on.
//   - Then the functions of [http.Server.RegisterOnShutdown] run, in [http.Server.Shutdown]. They come late: use [Draining] instead.
//   - Connections that were hijacked, such as WebSockets, are waited for. Whether one is closed is found out for connections of
//     package net, with or without TLS; others count as closed when their handlers return.
//   - At the deadline ([grace.WithDrainTimeout]) what is left is cut, and the drain has an error. If connections are still busy three
//     seconds before, or a quarter of the timeout if that is less, Shutdown is called then.
//
// [http.Server.Shutdown] alone loses requests: it closes idle connections at once, on which requests may be on their way, and drops
// requests that it has just read.
//
// # Handing over idle connections
//
// With [WithIdleHandover], connections of plain HTTP/1 are not closed at all: between two requests each goes to the successor, as an
// open socket ([grace.Manager.Transfer]), and is served on. Its client notices nothing. In the successor it is new: it waits for its
// next request with the listener, for as long as it might have been idle here, and goes on to the next successor if that comes
// first. What the successor does not take, because it does not serve the address, or hangs, or has no descriptors left, is closed
// politely, as above; so is a connection that cannot leave within the grace, since its client always has a part of the next request
// on its way.
//
// # Long requests
//
// The context of a request is not cancelled by the drain. A handler that would go on for long finds out by [Draining]:
//
//	select {
//	case event := <-events:
//		fmt.Fprintf(w, "data: %s\n\n", event)
//	case <-gracehttp.Draining(r.Context()):
//		return // the client connects anew, and gets to the successor
//	case <-r.Context().Done():
//		return
//	}
//
// or has a function called by [OnDrain]. One that has hijacked its connection can hand it over by [grace.Manager.Transfer], if its
// protocol allows to go on elsewhere: the program examples/chat does so with WebSockets.
//
// # Stopping without a successor
//
// On SIGTERM [Readiness] says no at once. With [WithStopDelay] the servers go on for a while before they drain, so that load
// balancers find out in time. When a successor serves, there is nothing to find out, and no delay.
//
// # Reports
//
// A [DrainReport] tells how the drain of each server went. Observers ([grace.WithObserver]) get it in a [grace.Reported] event, and the
// logger of the Manager logs it.
//
// # Limits
//
// A client that sends a request on an idle connection at the very moment at which the server closes it, loses the request, as after
// any keep-alive timeout. Clients of HTTP/1.1 have to expect that (RFC 9112, section 9.6), and those that are idle for less than the grace
// never meet it. On Linux a connection of TCP is not closed either if something has come within the grace; elsewhere a request whose
// header takes longer than that to arrive is none yet.
// [WithIdleHandover] closes no idle connection, and none on which something has come within the grace.
//
// Of several requests that a client has sent at once (pipelining) the first answer that says "Connection: close" is the last one. The
// following requests were not processed, and have to be sent again.
//
// net/http has one GOAWAY alone, which refuses what is on its way: that is lost if the client does not send it again, as the client of
// net/http does not if it cannot rewind the body. So HTTP/2 is served by a second http.Server with the same settings, to which the
// first one gives those connections ([http.Server.TLSNextProto]), and which lets us see the frames. [http.Server.SetKeepAlivesEnabled]
// has no effect there.
//
// Where the owner of a server has seen to HTTP/2, as golang.org/x/net/http2 does, it stays with that; and so does a server whose first
// listener is of a package that may hide TLS from net/http (which serves HTTP/2 on such connections since Go 1.27). The GOAWAY is then
// sent with the next answer, or when no other connection is left, and what it refuses has to be sent again (RFC 9113, section 6.8).
// net/http closes the connection one second after the last answer: a client that has not read it by then, and still sends something,
// may lose its end.
//
// Chromium may give up a request that it is about to send when a GOAWAY comes, of either kind.
//
// The answer to a request to change the protocol (Upgrade) does not end its connection. A function that a draining server has handed
// a request to may set the header Connection, and then has the last word.
package gracehttp
