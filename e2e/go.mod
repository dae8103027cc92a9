// A module of its own: its tests need nginx, haproxy, a browser and other programs that are not Go.
// doc.go names them. Some of its programs depend on grpc-go, cmux and golang.org/x/net.
module github.com/go-grace/grace/e2e

go 1.26.0

require (
	github.com/go-grace/grace v0.0.0
	github.com/go-grace/grace/gracegrpc v0.0.0
	github.com/soheilhy/cmux v0.1.5
	golang.org/x/net v0.60.0
	golang.org/x/sys v0.49.0
	google.golang.org/grpc v1.85.0
)

require (
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/go-grace/grace => ../
	github.com/go-grace/grace/gracegrpc => ../gracegrpc
)
