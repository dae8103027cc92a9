//go:build unix

package fds

import (
	"net"
	"path/filepath"
	"slices"
	"testing"
)

// Connections are counted for their listener even after it is closed; those that this process
// dialled are not counted.
func TestConnections(t *testing.T) {
	s := New()
	path := filepath.Join(t.TempDir(), "s")
	socks := []*Socket{
		openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0"}),
		openAsk(t, s, Ask{Network: "tcp", Address: ":0", Name: "all"}),
		openAsk(t, s, Ask{Network: "unix", Address: path}),
		openAsk(t, s, Ask{Network: "udp", Address: "127.0.0.1:0"}),
	}
	ids := s.ListenerIDs()
	if len(ids) != 3 || ids[2].String() != "unix "+path {
		t.Fatalf("listeners: %v", ids)
	}
	var ends []net.Conn
	for i, n := range []int{1, 2, 3} {
		ln := socks[i].Conn().(net.Listener)
		addr := ln.Addr().String()
		if i == 1 {
			_, port, _ := net.SplitHostPort(addr)
			addr = net.JoinHostPort("127.0.0.1", port)
		}
		for range n {
			client, err := net.Dial(ln.Addr().Network(), addr)
			must(t, err)
			server, err := ln.Accept()
			must(t, err)
			ends = append(ends, client, server)
		}
	}
	must(t, s.Close())
	if got := Connections(ids); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("got %v", got)
	}
	for _, c := range ends {
		must(t, c.Close())
	}
	if got := Connections(ids); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("after their end: %v", got)
	}
}
