// Httpsoak upgrades an HTTP service again and again under load, in each of several ways to drain,
// and counts what its clients lose. It needs nothing but the loopback network. 100 upgrades in each
// mode take some minutes:
//
//	go run ./examples/httpsoak
//	go run ./examples/httpsoak -mode polite -upgrades 1000
//	go run ./examples/httpsoak -kinds pipelined-large,hijacked
//
// The modes differ in what an old process does with its connections:
//
//	shutdown    it calls http.Server.Shutdown, and nothing else
//	polite      gracehttp serves it
//	handover    gracehttp serves it, with WithIdleHandover
//
// An interrupt (Ctrl-C) ends a mode early. Httpsoak exits with an error in any of these cases:
//   - in a mode other than shutdown, a request fails or is handled twice;
//   - in a mode other than shutdown, a connection holds its process for half of the drain timeout;
//   - in the mode handover, a client of plaintext HTTP/1 has to reconnect;
//   - in any mode, an upgrade fails, or descriptors or goroutines leak.
package main

import "github.com/go-grace/grace/internal/soak/httpsoak"

func main() { httpsoak.Main() }
