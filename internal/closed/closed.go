// Package closed tells the error of a server whose listener was closed from all others.
package closed

import (
	"errors"
	"net"
	"slices"
	"strings"
)

// Listener reports whether err says that a listener, or the server on it, is closed, and nothing
// else. An error of a connection that is closed does not count: something was lost on it. Of joined
// errors, each must count.
func Listener(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it looks at each error of the tree
	case nil:
		return false
	case *net.OpError:
		return isOfListener(e) && Listener(e.Err)
	case interface{ Unwrap() []error }:
		if causes := e.Unwrap(); len(causes) > 0 {
			return !slices.ContainsFunc(causes, func(err error) bool { return !Listener(err) })
		}
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			return Listener(cause)
		}
	}
	return errors.Is(err, net.ErrClosed) || saysSo(err.Error())
}

// isOfListener reports whether an operation is one of a socket without a peer, or a close, by which
// nothing is lost.
func isOfListener(e *net.OpError) bool {
	switch e.Op {
	case "accept", "close":
		return true
	case "read", "raw-read":
		return e.Addr == nil
	}
	return false
}

// saysSo recognizes, by their last words, the errors that cannot be matched in another way: those
// of multiplexers, of servers other than net/http, and of whoever has formatted an error without
// wrapping it.
func saysSo(text string) bool {
	text = " " + strings.ToLower(text)
	if before, ok := strings.CutSuffix(text, ": use of closed network connection"); ok {
		return strings.Contains(before, " accept ")
	}
	return slices.ContainsFunc(endings, func(s string) bool { return strings.HasSuffix(text, s) })
}

var endings = []string{
	" server closed", // net/http, cmux, quic-go, gliderlabs/ssh
	" server already closed",
	" server has been stopped", // grpc-go
	" listener closed",         // cmux, pion
	" listener already closed",
	" listener is closed",
	" listener stopped",
}
