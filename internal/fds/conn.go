package fds

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// errNoPeer is returned for a connection that its client has reset or that both sides have ended.
var errNoPeer = errors.New("it has ended: the system no longer knows the address of its client")

// OpenConn makes a connection from a connected socket and takes the file. Unlike [net.FileConn] it
// leaves the options of a TCP socket as they are, because they belong to the other process too
// while it has the socket. It returns an error for a connection without a RemoteAddr.
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
