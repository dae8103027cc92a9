package gracehttp

import (
	"crypto/tls"
	"net"
	"reflect"
	"sync"
	"time"
)

// arrival is what is known of a connection when http.Server gets it.
type arrival struct {
	shown bool      // the owner's ConnState knows of the connection
	limit time.Time // for the header of the first request; zero if there is none
}

// arrivals are those between a listener and http.Server. The zero value is ready to use.
type arrivals struct{ byConn sync.Map }

func (as *arrivals) add(nc net.Conn, a arrival) {
	if a != (arrival{}) {
		as.byConn.Store(nc, a)
	}
}

// take returns the arrival of a connection, or of that below its TLS, and forgets it.
func (as *arrivals) take(nc net.Conn) arrival {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	if !reflect.ValueOf(nc).Comparable() { // below TLS, and not held by a listener of ours
		return arrival{}
	}
	a, _ := as.byConn.LoadAndDelete(nc)
	found, _ := a.(arrival)
	return found
}
