//go:build !linux

package fds

import (
	"net"
	"os"
)

// options are none here: no connection comes from another process.
type options struct{}

func readOptions(*os.File) options { return options{} }

func (options) restore(net.Conn) error { return nil }
