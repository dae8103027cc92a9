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

// A listener is known by its connections after its end, whether or not the Set was told of that.
func TestConnectionsOfClosedListeners(t *testing.T) {
	s := New()
	told := openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0"})
	unseen := openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0", Bare: true})
	var servers []net.Conn
	for _, sock := range []*Socket{told, unseen} {
		ln := sock.Conn().(net.Listener)
		client, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		defer client.Close()
		server, err := ln.Accept()
		must(t, err)
		servers = append(servers, server)
	}
	must(t, told.Close())
	must(t, unseen.Conn().Close())
	total := func() (n int) {
		for _, count := range Connections(s.ListenerIDs()) {
			n += count
		}
		return n
	}
	if n := total(); n != 2 {
		t.Errorf("%d connections", n)
	}
	for range 600 { // listeners that come and go without connections are not kept
		must(t, openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0"}).Close())
	}
	if n := len(s.ListenerIDs()); n > 260 {
		t.Errorf("%d listeners are remembered", n)
	}
	if n := total(); n != 2 {
		t.Errorf("%d connections", n)
	}
	for _, c := range servers {
		must(t, c.Close())
	}
	if n := total(); n != 0 {
		t.Errorf("%d connections after their end", n)
	}
	must(t, s.Close())
}
