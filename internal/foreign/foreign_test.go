package foreign

import (
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// wrapper is a listener like that of netutil.LimitListener.
type wrapper struct{ net.Listener }

// advertised is a wrapper that claims to have another address.
type advertised struct{ net.Listener }

func (advertised) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// plain is a listener like those of Manager.Listen.
type plain struct{ net.Listener }

func (plain) AcceptsPlainConns() bool { return true }

func TestMayHold(t *testing.T) {
	ln := listen(t)
	for _, c := range []struct {
		ln   net.Listener
		want bool
	}{{ln, false}, {plain{ln}, false}, {&wrapper{ln}, true}, {pipenet.Listen(), true}} {
		if got := MayHold(c.ln); got != c.want {
			t.Errorf("%T: %v", c.ln, got)
		}
	}
}

func TestAddr(t *testing.T) {
	ln, closed := listen(t), listen(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	own := []graceevent.Socket{{Addr: listen(t).Addr()}, {Addr: ln.Addr()}}
	pipes := []graceevent.Socket{{Addr: pipenet.Listen().Addr()}}
	loop := &wrapper{}
	loop.Listener = loop
	for name, c := range map[string]struct {
		ln  net.Listener
		own []graceevent.Socket
		is  bool
	}{
		"foreign":                  {ln: ln, own: own[:1], is: true},
		"foreign, wrapped":         {ln: &wrapper{advertised{ln}}, own: own[:1], is: true},
		"own":                      {ln: ln, own: own},
		"own, wrapped":             {ln: &wrapper{advertised{ln}}, own: own},
		"closed":                   {ln: closed},
		"without a socket":         {ln: pipenet.Listen()},
		"a wrapper of nothing":     {ln: &wrapper{}},
		"a wrapper of itself":      {ln: loop},
		"a socket of another kind": {ln: ln, own: pipes, is: true},
	} {
		addr := Addr(c.ln, c.own)
		if (addr != nil) != c.is || c.is && addr.String() != ln.Addr().String() {
			t.Errorf("%s: the address is %v", name, addr)
		}
	}
}

func TestDescribe(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	level, message, attrs := Describe("HTTP", addr)
	const says = "HTTP listener was not opened by grace"
	if level != slog.LevelWarn || !strings.HasPrefix(message, says) || len(attrs) != 1 ||
		attrs[0].Value.String() != "192.0.2.1:80" {
		t.Errorf("%v %q %v", level, message, attrs)
	}
}
