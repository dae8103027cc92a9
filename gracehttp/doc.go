// Package gracehttp serves HTTP in a process that replaces itself with a new one, without losing a
// request.
//
//	m, err := grace.New(grace.WithLogger(slog.Default()))
//	...
//	err = gracehttp.ListenAndServe(ctx, m, &http.Server{Addr: ":8080", Handler: mux})
//
// This is a whole service: SIGHUP upgrades it, SIGTERM ends it. A service with several servers or
// listeners calls [Start] or [StartTLS] for each, and then [grace.Manager.Run]. The program
// examples/http is complete.
//
// # The drain
//
// When a successor serves, or the service stops, each server drains:
//
//   - It closes its listeners and keeps serving the connections that it has accepted. Until its
//     first byte arrives, a connection waits with the listener, and http.Server does not know it.
//     Such a connection is handed to the successor, with or without TLS.
//   - In HTTP/1, the next response on a connection is its last one and says so (Connection: close),
//     whatever its handler has set. The client then connects again, to the successor. A connection
//     without a request is kept for a grace period of 5 seconds ([WithIdleGrace]). A response whose
//     header was sent before the drain cannot say so, and the period starts again after it.
//   - After its last response, a connection stays open in the direction from the client until the
//     client closes it, or has been silent for a second. Otherwise a further request on its way
//     would reset the connection, and the client lose the end of the response.
//   - In HTTP/2, with or without TLS, a GOAWAY that still admits streams in flight, followed by a
//     PING, tells the client to open no more streams: as soon as no stream is open, or at the end
//     of the grace period if one always is. Many clients close the connection when they have their
//     responses. For the others the server closes it. It does so when the client has answered the
//     PING and nothing has arrived for a second, or for four times as long as that answer took. The
//     grace period is also for a client that has not sent a request yet, and for one that has
//     fallen silent. A client that keeps opening streams for another such period gets a second
//     GOAWAY, which refuses whatever it sends from then on.
//   - Then [http.Server.Shutdown] runs the functions of [http.Server.RegisterOnShutdown]. They come
//     late: use [Draining] instead.
//   - The drain waits for hijacked connections, such as WebSockets, with or without TLS and
//     whatever the listener has put around them: a wrapper is looked through if it has a method
//     NetConn or SyscallConn, embeds a net.Conn, or has one field alone that is one. Otherwise a
//     connection is looked for by its addresses. If it has none, as one of a unix socket, or has
//     addresses of its own, it counts as closed when its handler returns; the Manager still waits
//     until the socket is closed.
//   - At the deadline ([grace.WithDrainTimeout]) the connections that are left are cut: closed at
//     once, hijacked ones included. That is not an error, but a warning in the [DrainReport]. If
//     connections are still busy three seconds before the deadline, or a quarter of the timeout if
//     that is shorter, Shutdown is called then.
//
// [http.Server.Shutdown] alone loses requests: it closes idle connections at once, though requests
// may be on their way, and drops requests that it has just read.
//
// # Handing over idle connections
//
// With [WithIdleHandover], connections of plain HTTP/1 are not closed at all. Between two requests
// each goes to the successor as an open socket ([grace.Manager.Transfer]) and is served there. Its
// client notices nothing. To the successor the connection is new: it waits with the listener for
// its next request, for as long as it might have been idle in the old process. If the next upgrade
// comes first, it moves on to the next successor.
//
// The successor may refuse a connection: it may not serve the address, hang, or have no descriptors
// left. Such a connection is closed politely, as above. So is one that cannot leave within the
// grace period because its client has always sent a part of the next request.
//
// If a server still drains a second after at least 1,000 connections have left, it runs the garbage
// collector and returns their memory to the system ([runtime/debug.FreeOSMemory]).
//
// # Long requests
//
// The drain does not cancel the context of a request. A handler that would run for long learns of
// the drain from [Draining]:
//
//	select {
//	case event := <-events:
//		fmt.Fprintf(w, "data: %s\n\n", event)
//	case <-gracehttp.Draining(r.Context()):
//		return // the client connects again, to the successor
//	case <-r.Context().Done():
//		return
//	}
//
// or registers a function with [OnDrain]. If the client asks again on the same connection, the same
// handler ends that response at once, and it says that the connection closes.
//
// An [net/http/httputil.ReverseProxy] passes a stream of its backend on until the deadline, where
// the stream is cut. The example of [Draining] ends it when the drain begins, by a function in
// ModifyResponse: the client gets a complete response, and connects again. To cancel the context of
// the request to the backend would not do that, because the proxy then cuts the connection of the
// client. A WebSocket that goes through the proxy is cut at the deadline.
//
// A handler that has hijacked its connection can hand it over with [grace.Manager.Transfer], if the
// protocol can continue in another process: the program examples/chat does so with WebSockets.
//
// # Sessions of TLS
//
// The keys of session tickets are those of a process. After an upgrade each client does a full
// handshake, unless the keys go from process to process, as in the example of [ListenAndServeTLS].
//
// # Stopping without a successor
//
// On SIGTERM, [Readiness] reports at once that the service is not ready. With [grace.WithStopDelay]
// the servers keep serving for a while before they drain, so that load balancers notice in time.
// When a successor serves, there is nothing to notice, and no delay.
//
// # Events
//
// The observers of the Manager ([grace.WithObserver]) are told of events of this package, and its
// logger logs them. A [DrainReport] says how the drain of each server went. A [ForeignListener]
// warns of a listener that the next process cannot take over, an [IdleHandoverOff] of an option
// that has no effect, and a [HijackedHTTP2] of connections whose clients cannot be told.
//
// # Limits
//
// A client that sends a request on an idle connection at the very moment at which the server closes
// it loses the request, as after any keep-alive timeout. Clients of HTTP/1.1 have to expect that
// (RFC 9112, section 9.6). A client that is never idle for as long as the grace period is never
// affected. On Linux, a TCP connection on which something has arrived within the grace period is
// not closed either. Elsewhere it is closed if the header of a request takes longer to arrive.
// [WithIdleHandover] closes neither idle connections nor those on which something has arrived
// within the grace period.
//
// If a client sends several requests at once (pipelining), the first response that says
// "Connection: close" is the last one. The requests after it were not processed and have to be sent
// again.
//
// The only GOAWAY of net/http refuses the streams in flight. Such a request is lost unless the
// client sends it again; the client of net/http does not if it cannot rewind the body. So a second
// http.Server with the same settings serves HTTP/2. The first one passes it those connections
// ([http.Server.TLSNextProto]) through a layer that follows their frames.
// [http.Server.SetKeepAlivesEnabled] has no effect on them.
//
// A handler cannot push over TLS with Go 1.27, whose net/http takes the connections of the second
// server for ones without TLS.
//
// Two kinds of servers keep the HTTP/2 of net/http. One kind has an owner who has configured
// HTTP/2, as golang.org/x/net/http2 does. The other kind has a first listener whose type may hide
// TLS from net/http, which serves HTTP/2 on such connections since Go 1.27: any type except those
// of package net, of [grace.Manager.Listen] and of [tls.NewListener]. Their GOAWAY goes out with
// the next response, or when no other connection is left, and clients have to send again what it
// refuses (RFC 9113, section 6.8). net/http closes the connection one second after the last
// response. A client that has not read the response by then, and still sends something, may lose
// the end of it.
//
// Chromium may abandon a request that it is about to send when a GOAWAY of either kind arrives.
//
// # Handlers
//
// The [http.ResponseWriter] that handlers get has the same methods as that of net/http. Before the
// final header of a response is sent in the drain, it replaces the header Connection that the
// handler has set, except in a change of the protocol (101). So a handler may set
// "Connection: close" at any time; "Connection: keep-alive" has no meaning in HTTP/1.1. Interim
// responses (1xx) never have the header: some clients take it for that of the final one.
//
// [http.MaxBytesReader] does not know the type. So it is the status 413 that closes the connection
// of a request that is too large.
//
// OPTIONS * is answered as by http.Server, unless its DisableGeneralOptionsHandler is set.
//
// [http.Server.ConnState] is told of a plain connection (StateNew) before its first byte arrives,
// so that it can bound their number. With TLS it is told at the first byte. Bound connections with
// TLS that are silent by [http.Server.ReadHeaderTimeout].
//
// HTTP/2 without TLS is a matter of [http.Server.Protocols] (UnencryptedHTTP2). The handler of
// golang.org/x/net/http2/h2c hijacks its connections instead, and nobody tells their clients of the
// drain: a [HijackedHTTP2] warns of that.
package gracehttp
