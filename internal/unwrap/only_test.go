package unwrap

import (
	"net"
	"testing"
)

type (
	byField  struct{ inner net.Conn }
	byType   struct{ inner *net.TCPConn }
	withAddr struct {
		inner net.Conn
		addr  net.Addr
	}
	ambiguous struct{ one, other net.Conn }
	name      string
)

// A wrapper is looked through if there is no doubt about what it wraps.
func TestOnly(t *testing.T) {
	c := new(net.TCPConn)
	for _, wrapper := range []any{
		byField{c}, &byField{c}, byType{c}, &byType{c}, &withAddr{c, c.LocalAddr()}, ambiguous{one: c},
	} {
		if got := Only[net.Conn](wrapper); got != net.Conn(c) {
			t.Errorf("%T holds %v", wrapper, got)
		}
	}
	for _, wrapper := range []any{
		nil, byField{}, (*byField)(nil), &byType{}, ambiguous{c, c}, name("a"), new(name),
	} {
		if got := Only[net.Conn](wrapper); got != nil {
			t.Errorf("%T holds %v", wrapper, got)
		}
	}
}
