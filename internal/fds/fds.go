// Package fds owns the sockets of a process: it binds them, takes over inherited ones, lends them
// to a successor, and removes the paths of unix sockets when nobody is left to serve them.
//
// A [Set] holds every socket of one [grace.Manager]. [Set.Open] adds a socket: it first looks among
// the inherited descriptors, and binds a new socket if none of them is what was asked for. A socket
// leaves the Set when it is closed. The Set keeps no duplicate, so a socket that the application
// closed is not handed over.
//
// While a child is started with the sockets, a [Loan] keeps their descriptors open; a [Pin] does so
// for any other connection.
//
// The package knows nothing about processes or the conversation between them. It can be used from
// several goroutines.
//
// [grace.Manager]: https://pkg.go.dev/github.com/go-grace/grace#Manager
package fds

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Errors that callers match.
var (
	// ErrWrongKind is matched by the error of an Ask whose name or address an inherited descriptor
	// has that cannot serve it.
	ErrWrongKind = errors.New("inherited descriptor is of the wrong kind")
	// ErrAmbiguous is matched by the error of an Ask that several inherited descriptors match, among
	// which nothing decides.
	ErrAmbiguous = errors.New("inherited sockets cannot be told apart")
	// ErrEnvironment is matched by every error about LISTEN_FDS, its relatives and the variable of a
	// link.
	ErrEnvironment = errors.New("descriptors announced by the environment are unusable")
	// ErrHandedOver is returned by Open and Lend after HandOver.
	ErrHandedOver = fmt.Errorf("grace: a successor serves instead of this process: %w",
		net.ErrClosed)
	// ErrClosed is returned by Open and Lend after Close.
	ErrClosed = fmt.Errorf("grace: the service is shut down: %w", net.ErrClosed)
)

// Ask is what the caller of a Listen function target.
type Ask struct {
	Network string // as for net.Listen and net.ListenPacket
	Address string
	Name    string // "" if the caller gave none
	Config  net.ListenConfig
	// Bare is set if the caller gives the Conn away: then it can be closed without the Socket.
	Bare bool

	later    bool    // it may have to listen only when this process begins to accept
	path     string  // the absolute path of a unix socket; "" if there is none
	traits   *Traits // that a new socket would have; nil if they are not known
	probeErr error   // why not
}

// Record describes a socket to the next generation.
type Record struct {
	Name    string
	Network string // as asked for; "" if nobody has asked yet
	Address string
	// Ordinal distinguishes sockets of equal requests, such as several on port 0: the lowest number
	// that was free.
	Ordinal int
	// Given is set on a socket that no generation of this service bound: a service manager or
	// another parent passed it.
	Given bool
	// File is the identity of the file of a unix socket that this service bound, by which its path
	// is removed at the end; "" for others.
	File string
	// Path is the absolute path of a unix socket that this service bound. It was asked for by
	// Address, which another process may see from another directory.
	Path string
	// Traits are those of a socket that this service bound.
	Traits Traits
}

// key identifies equal requests; ordinals distinguish their sockets.
type key struct {
	name, network, address string
}

func (a Ask) key() key { return key{a.Name, a.Network, a.Address} }

// String returns the network, address and name for error messages.
func (a Ask) String() string {
	s := printable(a.Network) + " " + printable(a.Address)
	if a.Name != "" {
		s += fmt.Sprintf(" (name %q)", a.Name)
	}
	return s
}

// printable returns a text that a log can have: the address of a unix socket can be any bytes.
func printable(s string) string {
	strange := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if strings.ContainsFunc(s, strange) {
		return strconv.QuoteToASCII(s)
	}
	return s
}

// String returns the network, address and name for messages.
func (r Record) String() string {
	s := printable(r.Network) + " " + printable(r.Address)
	if r.Network == "" {
		s = "socket"
	}
	if r.Name != "" {
		s += fmt.Sprintf(" (name %q)", r.Name)
	}
	return s
}
