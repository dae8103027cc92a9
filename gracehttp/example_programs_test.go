//go:build unix

package gracehttp_test

import "github.com/go-grace/grace/internal/test/exampletest"

// In a process of a service, this binary is the program of an example.
func init() { exampletest.Main(serveTickets, serveProxy) }
