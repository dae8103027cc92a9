//go:build unix

package fds

import (
	"net"
	"path/filepath"
	"testing"
)

// connectTo returns both ends of a connection to a listener. The client may have another network.
func connectTo(t *testing.T, network, address, dial string) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	must(t, err)
	defer ln.Close()
	to := ln.Addr().String()
	if _, port, err := net.SplitHostPort(to); err == nil {
		host, _, err := net.SplitHostPort(address)
		must(t, err)
		if host == "" {
			host = map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"}[dial]
		}
		to = net.JoinHostPort(host, port)
	}
	client, err = net.Dial(dial, to)
	must(t, err)
	server, err = ln.Accept()
	must(t, err)
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// A TCP connection is found by its addresses, from either end, until it is closed.
func TestFindConnection(t *testing.T) {
	for name, c := range map[string]struct{ network, address, dial string }{
		"IPv4":                {"tcp4", "127.0.0.1:0", "tcp4"},
		"IPv6":                {"tcp6", "[::1]:0", "tcp6"},
		"IPv4 on both stacks": {"tcp", ":0", "tcp4"},
		"IPv6 on both stacks": {"tcp", ":0", "tcp6"},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := connectTo(t, c.network, c.address, c.dial)
			theirs := mustFind(t, client)
			ours := mustFind(t, server)
			if ours.fd != fdOf(t, server) || theirs.fd != fdOf(t, client) {
				t.Errorf("found %d and %d", ours.fd, theirs.fd)
			}
			must(t, client.(*net.TCPConn).CloseWrite())
			if !ours.IsOpen() || !theirs.IsOpen() {
				t.Error("a connection ends when one direction is closed")
			}
			must(t, server.Close())
			if ours.IsOpen() || theirs.IsOpen() {
				t.Error("a connection is open that is closed in both directions")
			}
			if _, found := new(Index).Find(server.LocalAddr(), server.RemoteAddr()); found {
				t.Error("a closed connection is found")
			}
		})
	}
}

func mustFind(t *testing.T, c net.Conn) Connection {
	t.Helper()
	found, ok := new(Index).Find(c.LocalAddr(), c.RemoteAddr())
	if !ok || !found.IsOpen() {
		t.Fatalf("found %v, %t", found, ok)
	}
	return found
}

// An address of IPv4 may have the form of IPv6.
func TestFindConnectionByMappedAddresses(t *testing.T) {
	_, server := connectTo(t, "tcp4", "127.0.0.1:0", "tcp4")
	mapped := func(a net.Addr) net.Addr {
		tcp := a.(*net.TCPAddr)
		return &net.TCPAddr{IP: tcp.IP.To16(), Port: tcp.Port}
	}
	found, ok := new(Index).Find(mapped(server.LocalAddr()), mapped(server.RemoteAddr()))
	if !ok || found.fd != fdOf(t, server) {
		t.Errorf("found %v, %t", found, ok)
	}
}

// Another descriptor with the number of a closed one is not taken for the connection.
func TestDescriptorIsUsedAgain(t *testing.T) {
	_, server := connectTo(t, "tcp4", "127.0.0.1:0", "tcp4")
	found := mustFind(t, server)
	must(t, server.Close())
	client, other := connectTo(t, "tcp4", "127.0.0.1:0", "tcp4")
	for _, c := range []net.Conn{client, other} {
		reused := Connection{fdOf(t, c), found.addresses}
		if reused.IsOpen() {
			t.Errorf("%v is taken for %v", c.LocalAddr(), found.local)
		}
	}
}

// An end that this process has closed is not open, though the other end is.
func TestOtherEndIsOpen(t *testing.T) {
	client, server := connectTo(t, "tcp4", "127.0.0.1:0", "tcp4")
	theirs, ours := mustFind(t, client), mustFind(t, server)
	must(t, server.Close())
	if ours.IsOpen() || !theirs.IsOpen() {
		t.Errorf("open: %t, the other end: %t", ours.IsOpen(), theirs.IsOpen())
	}
}

// Nothing else is found: not by one address alone, and no other kind of connection.
func TestFindNoConnection(t *testing.T) {
	client, server := connectTo(t, "tcp4", "127.0.0.1:0", "tcp4")
	unixClient, _ := connectTo(t, "unix", filepath.Join(t.TempDir(), "s"), "unix")
	pipe, peer := net.Pipe()
	defer pipe.Close()
	defer peer.Close()
	elsewhere := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 1}
	for name, addrs := range map[string][2]net.Addr{
		"another local address":  {elsewhere, server.RemoteAddr()},
		"another remote address": {server.LocalAddr(), elsewhere},
		"unix":                   {unixClient.LocalAddr(), unixClient.RemoteAddr()},
		"a pipe":                 {pipe.LocalAddr(), pipe.RemoteAddr()},
		"UDP": {
			&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: server.LocalAddr().(*net.TCPAddr).Port},
			&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: client.LocalAddr().(*net.TCPAddr).Port},
		},
		"nil": {nil, nil},
	} {
		if found, ok := new(Index).Find(addrs[0], addrs[1]); ok {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
