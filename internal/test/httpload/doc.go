// Package httpload puts load on an HTTP service, and tells whether it has lost a request.
//
//	load, err := httpload.Start(httpload.Config{
//		Targets: []httpload.Target{{Network: "tcp", Addr: addr}},
//	})
//	...
//	result := load.Stop() // of requests, failures, reconnects and latencies
//
// The service answers by a [Handler], which counts what it has handled: over all its processes that
// must be as much as the clients have sent.
//
// # The clients
//
// Each of the [Kinds] is a way in which clients use a connection. Those of HTTP/1 are written by
// hand, byte by byte, and try nothing again, as [net/http.Transport] does in secret. Every request
// has an id of its own, and whatever is not the right answer to it is a failure: another status,
// id, method or body, bytes after it, or none at all within [Config.Patience].
//
// The clients do not look whether a connection is still open before they send the next request on
// it. So one that comes when the server has closed the connection without a word has failed,
// however long that was before.
//
// What a server says that it has not processed is not lost. It is sent again, and counted once:
//   - a request that was sent, in part or whole, together with the one before, whose answer says
//     "Connection: close" (RFC 9112, section 9.6);
//   - in HTTP/2, streams after the last one of a GOAWAY, and refused ones.
//
// An answer of "options" does not come from the Handler, which does not count it.
//
// # Answers before the final one, and after it
//
// An interim answer (100, 102, 103) must be one that was asked for and have no Connection header,
// in HTTP/1 and HTTP/2: some clients take its "close" for the end of the connection. The Handler
// sends some itself, and others for a backend behind its reverse proxy.
//
// In "hijacked", lines are exchanged on the connection after 101. A Handler that drains says
// goodbye, and the client finishes what it has to say. A server that leaves before has failed.
//
// # HTTP/2, and the client of package http
//
// HTTP/2 is spoken by [net/http.Transport], with several streams on a connection. What it sends
// again in secret, besides the above, is what it has not written yet, and a stream that was reset
// with PROTOCOL_ERROR. In "http2-once" it sends nothing again, so that what the server refuses has
// failed, and opens another connection when it has been told to.
//
// It speaks HTTP/1 too, in two kinds. In "go-post" it has bodies that it cannot rewind, and sends
// nothing again. In "go-get" it sends a GET again if its connection, used before, ends without an
// answer: only the count of the Handler can tell then whether the first one was processed.
package httpload
