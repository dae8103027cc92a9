// Demo shows what the library is for: it replaces an HTTP server ten times under load, and no
// request fails. It does so in each of the ways in which gracehttp drains. For comparison, it then
// drains with http.Server.Shutdown, and stops and starts the server. It needs nothing but the
// loopback network, and takes about 25 seconds:
//
//	go run ./examples/demo
package main

import "github.com/go-grace/grace/internal/soak/demo"

func main() { demo.Main() }
