// A module of its own: its tests need nginx, haproxy, a browser and other programs that are not Go.
// doc.go names them.
module github.com/go-grace/grace/e2e

go 1.26.0

require (
	github.com/go-grace/grace v0.0.0
	golang.org/x/sys v0.49.0
)

replace github.com/go-grace/grace => ../
