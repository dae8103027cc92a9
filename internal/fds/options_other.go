//go:build !linux

package fds

import (
	"net"
	"os"
)

// options is empty: on this platform no connection comes from another process.
type options struct{}

func readOptions(*os.File) options { return options{} }

func (options) restore(net.Conn) error { return nil }
