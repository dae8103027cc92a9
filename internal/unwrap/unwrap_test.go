package unwrap

import (
	"net"
	"testing"
)

type (
	embedding struct{ net.Conn }
	naming    struct{ Conn net.Conn }
	hiding    struct{ conn net.Conn }
	deeper    struct{ embedding }
	other     struct{ Conn string }
	private   struct{ netConn }
	netConn   interface{ net.Conn }
	number    int
)

func TestField(t *testing.T) {
	inner, peer := net.Pipe()
	defer inner.Close()
	defer peer.Close()
	var none *embedding
	for name, c := range map[string]struct {
		wrapper any
		want    net.Conn
	}{
		"embedded":                  {embedding{inner}, inner},
		"embedded, by a pointer":    {&embedding{inner}, inner},
		"a field":                   {naming{inner}, inner},
		"empty":                     {embedding{}, nil},
		"an empty pointer":          {none, nil},
		"unexported":                {hiding{inner}, nil},
		"of an embedded wrapper":    {deeper{embedding{inner}}, nil},
		"of another type":           {other{"text"}, nil},
		"with another name":         {private{inner}, nil},
		"not a struct":              {number(1), nil},
		"nothing":                   {nil, nil},
		"a connection of a package": {inner, nil},
	} {
		if got := Field[net.Conn](c.wrapper, "Conn"); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
