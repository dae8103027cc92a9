// Package fds owns the sockets of a process: it binds them, takes over those that the process was started with, lends them
// to a successor, and removes the paths of unix sockets when nobody is left to serve them.
//
// A [Set] holds every socket of one [grace.Manager]. A socket enters it by [Set.Open], which first looks among the
// descriptors that the process inherited and binds a new socket where none of them is what was asked for. It leaves when it
// is closed: the Set keeps no duplicate, so a socket that the application closed is gone, and is not handed over.
//
// The package knows nothing of processes and of the conversation between them. It can be used from several goroutines.
//
// [grace.Manager]: https://pkg.go.dev/github.com/go-grace/grace#Manager
package fds

import (
	"errors"
	"fmt"
	"net"
)

// Errors that callers match.
var (
	// ErrWrongKind is matched by the error of an Ask for which an inherited descriptor is named, or which it blocks, but
	// which that descriptor cannot serve.
	ErrWrongKind = errors.New("inherited descriptor is of the wrong kind")
	// ErrEnvironment is matched by every error about LISTEN_FDS and its relatives.
	ErrEnvironment = errors.New("descriptors announced by the environment are unusable")
	// ErrHandedOver is returned by Open once the sockets belong to a successor.
	ErrHandedOver = fmt.Errorf("grace: a successor serves instead of this process: %w", net.ErrClosed)
	// ErrClosed is returned by Open after Close.
	ErrClosed = fmt.Errorf("grace: the service is shut down: %w", net.ErrClosed)
)

// Ask is what the caller of a Listen function wants.
type Ask struct {
	Network string // as for net.Listen and net.ListenPacket
	Address string
	Name    string // "" where the caller gave none
	Config  net.ListenConfig
	// Bare says that the caller gives the Conn away, so that it can be closed without the Socket.
	Bare bool
}

// Record describes a socket to the next generation.
type Record struct {
	Name    string
	Network string // as it was asked for; "" if nobody asked yet
	Address string
	// Ordinal tells apart sockets for which the same was asked, such as several on port 0: the lowest number that was free.
	Ordinal int
	// Given is set on a socket that no generation of ours bound: it came from a service manager or an unknown parent.
	Given bool
	// File is the identity of the file of a unix socket that we bound, by which its path is removed at the end; "" for others.
	File string
}

// key is what tells one Ask from another: sockets of one key are told apart by their ordinals.
type key struct {
	name, network, address string
}

func (a Ask) key() key { return key{a.Name, a.Network, a.Address} }

// String is for error messages: what was asked for, and by what name.
func (a Ask) String() string {
	s := a.Network + " " + a.Address
	if a.Name != "" {
		s += fmt.Sprintf(" (name %q)", a.Name)
	}
	return s
}

// String is for messages about a socket of which only the record is known.
func (r Record) String() string {
	s := r.Network + " " + r.Address
	if r.Network == "" {
		s = "socket"
	}
	if r.Name != "" {
		s += fmt.Sprintf(" (name %q)", r.Name)
	}
	return s
}
