package gracehttp

import (
	"iter"
	"net"
	"reflect"
	"syscall"

	"github.com/go-grace/grace/internal/unwrap"
)

// socketOf returns the descriptor of a connection, or nil if it cannot be reached. It looks below
// TLS, and through wrappers that embed a [net.Conn] or hold one in a field.
func socketOf(nc net.Conn) syscall.RawConn {
	for layer := range layers(nc) {
		if sc, ok := layer.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				return raw
			}
		}
	}
	return nil
}

// layers goes over a connection and those that it wraps.
func layers(nc net.Conn) iter.Seq[net.Conn] {
	return func(yield func(net.Conn) bool) {
		for range unwrap.Max {
			if nc == nil || !yield(nc) {
				return
			}
			nc = below(nc)
		}
	}
}

// below returns the connection that another one wraps, or nil.
func below(nc net.Conn) net.Conn {
	if c, ok := nc.(interface{ NetConn() net.Conn }); ok { // *tls.Conn has the method
		return c.NetConn()
	}
	if c := unwrap.Field[net.Conn](nc, "Conn"); c != nil {
		return c
	}
	return unwrap.Only[net.Conn](nc)
}

// boxed holds a connection of a type whose values cannot be compared, such as a struct with a
// slice: it would not do as the key of a map.
type boxed struct{ net.Conn }

// NetConn returns the connection as its listener has returned it.
func (b *boxed) NetConn() net.Conn { return b.Conn }

// boxedIfNeeded returns a connection that can be compared.
func boxedIfNeeded(nc net.Conn) net.Conn {
	if reflect.ValueOf(nc).Comparable() {
		return nc
	}
	return &boxed{nc}
}

// unboxed returns the connection as its listener has returned it.
func unboxed(nc net.Conn) net.Conn {
	if b, ok := nc.(*boxed); ok {
		return b.Conn
	}
	return nc
}
