// A module of its own: it alone needs a WebSocket library.
module github.com/go-grace/grace/examples/chat

go 1.26.0

require (
	github.com/go-grace/grace v0.0.0
	// It reads and writes frames on any net.Conn, so a connection continues in the next process
	// without another handshake.
	github.com/gobwas/ws v1.4.0
)

require go.uber.org/goleak v1.3.0

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/go-grace/grace => ../..
