package fds

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// errNoPeer is the error for a connection that its client has reset, or that both sides have ended.
var errNoPeer = errors.New("it has ended: the system knows the address of its client no more")

// OpenConn makes a connection of a connected socket, and takes the file. Unlike [net.FileConn] it leaves the options of a TCP socket
// as they are, which are those of the other process too, as long as it has the socket; and it gives no connection without a
// RemoteAddr, which nobody expects.
func OpenConn(f *os.File) (net.Conn, error) {
	options := readOptions(f)
	c, err := net.FileConn(f)
	if err == nil {
		err = options.restore(c)
		if err == nil && c.RemoteAddr() == nil {
			err = errNoPeer
		}
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a connection: %w", err)
	}
	return c, nil
}
