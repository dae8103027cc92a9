// Soak upgrades a service of several protocols again and again under load, for as long as you like,
// and reports whether a request was lost or anything grew. It needs nothing but the loopback
// network. 1,000 upgrades take some minutes:
//
//	go run ./examples/soak
//	go run ./examples/soak -for 24h
//
// An interrupt (Ctrl-C) ends it early, with the same tables. It exits with an error if any request
// or upgrade fails, or if descriptors, goroutines or memory leak.
package main

import "github.com/go-grace/grace/internal/soak/mixed"

func main() { mixed.Main() }
