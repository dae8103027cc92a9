package fds

import (
	"net/netip"
	"testing"
)

// The tests of this file make up the facts about sockets, so they also run on machines without
// IPv6, privileges or free ports. The tests of claim_test.go show that the facts are true.

func stream4(address string) facts {
	return facts{
		family: familyInet, kind: kindStream, listening: true,
		address: netip.MustParseAddrPort(address),
	}
}

// stream6 is a socket of both families if its address is the wildcard.
func stream6(address string) facts {
	f := stream4(address)
	f.family = familyInet6
	return f
}

func only6(address string) facts {
	f := stream6(address)
	f.v6only = true
	return f
}

func datagram4(address string) facts {
	f := stream4(address)
	f.kind, f.listening = kindDatagram, false
	return f
}

func unixStream(path string) facts {
	return facts{family: familyUnix, kind: kindStream, listening: true, path: path}
}

func connected(f facts) facts {
	f.listening, f.connected = false, true
	return f
}

// inheritedSocket is an inherited socket: its record, and the facts that the kernel reports.
type inheritedSocket struct {
	record Record
	facts  facts
}

// givenAs returns a socket of which only the name is known.
func givenAs(name string, f facts) inheritedSocket {
	return inheritedSocket{Record{Name: name, Given: true}, f}
}

// inheriting returns a Set with these sockets, which do not exist.
func inheriting(all []inheritedSocket) *Set {
	var records []Record
	for _, i := range all {
		records = append(records, i.record)
	}
	s := New()
	s.inherited = newInheritance(records)
	for i := range all {
		s.inherited.descriptors[i].facts = &all[i].facts
	}
	return s
}

// claimFrom claims a socket from a Set and returns the index of the inherited one, or -1 for none.
func claimFrom(t *testing.T, s *Set, ask Ask, ordinal int) (int, error) {
	t.Helper()
	d, err := s.claim(t.Context(), ask, ordinal)
	if d == nil {
		return -1, err
	}
	return d.fd - First, err
}

func claimAmong(t *testing.T, ask Ask, ordinal int, all ...inheritedSocket) (int, error) {
	t.Helper()
	return claimFrom(t, inheriting(all), ask, ordinal)
}

func TestMatchByAddress(t *testing.T) {
	v4, dual, v6 := stream4("0.0.0.0:80"), stream6("[::]:80"), only6("[::]:80")
	local4, local6, link := stream4("127.0.0.1:80"), only6("[::1]:80"), only6("[fe80::1%lo]:80")
	mapped := stream6("[::ffff:127.0.0.1]:80")
	tests := []struct {
		network, address string
		among            []facts
		want             int
	}{
		// Every spelling of the wildcard means the same to "tcp": a socket of both families, or
		// what comes nearest.
		{"tcp", ":80", []facts{v4}, 0},
		{"tcp", ":80", []facts{v6}, 0},
		{"tcp", ":80", []facts{v4, v6, dual}, 2},
		{"tcp", "0.0.0.0:80", []facts{v4}, 0},
		{"tcp", "0.0.0.0:80", []facts{v4, dual}, 1},
		{"tcp", "0.0.0.0:80", []facts{v6, v4}, 1},
		{"tcp", "[::]:80", []facts{v4}, 0},
		{"tcp", "[::]:80", []facts{v4, dual}, 1},
		{"tcp", "[::]:80", []facts{v4, v6}, 1},
		{"tcp", "[0:0::0]:80", []facts{dual}, 0},
		// A single family prefers its own socket, and takes one of both.
		{"tcp4", ":80", []facts{v4}, 0},
		{"tcp4", ":80", []facts{dual}, 0},
		{"tcp4", ":80", []facts{dual, v4}, 1},
		{"tcp4", "0.0.0.0:80", []facts{v6}, -1},
		{"tcp6", ":80", []facts{v6}, 0},
		{"tcp6", ":80", []facts{dual}, 0},
		{"tcp6", ":80", []facts{dual, v6}, 1},
		{"tcp6", "[::]:80", []facts{v4}, -1}, // it could not be reached over IPv6 at all
		// An address is not the wildcard, nor another address, nor another port.
		{"tcp", "127.0.0.1:80", []facts{v4, dual, local4}, 2},
		{"tcp", "127.0.0.1:80", []facts{v4, dual}, -1},
		{"tcp", ":80", []facts{local4, local6}, -1},
		{"tcp", "127.0.0.2:80", []facts{local4}, -1},
		{"tcp", ":81", []facts{v4, v6, dual}, -1},
		{"tcp", "[::1]:80", []facts{local4, local6}, 1},
		{"tcp4", "127.0.0.1:80", []facts{local6, local4}, 1},
		{"tcp6", "[::1]:80", []facts{local4, local6}, 1},
		{"tcp4", "127.0.0.1:80", []facts{mapped}, 0},
		{"tcp", "[fe80::1%lo]:80", []facts{link}, 0},
		{"tcp", "[fe80::1%other]:80", []facts{link}, -1},
		// A datagram socket is in nobody's way.
		{"tcp", ":80", []facts{datagram4("0.0.0.0:80")}, -1},
		{"tcp", ":80", []facts{datagram4("0.0.0.0:80"), v4}, 1},
		{"udp", ":80", []facts{v4, datagram4("0.0.0.0:80")}, 1},
		{"udp4", "127.0.0.1:80", []facts{local4, datagram4("127.0.0.1:80")}, 1},
	}
	for _, tt := range tests {
		var among []inheritedSocket
		var has []string
		for _, f := range tt.among {
			among, has = append(among, givenAs("", f)), append(has, f.String())
		}
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.address}, 0, among...)
		if got != tt.want || err != nil {
			t.Errorf("%s %s among %q: got %d, %v; want %d",
				tt.network, tt.address, has, got, err, tt.want)
		}
	}
}

func TestMatchByName(t *testing.T) {
	local := stream4("127.0.0.1:80")
	other := stream4("127.0.0.1:8080")
	datagram := datagram4("127.0.0.1:80")
	ours := Record{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"}
	tests := []struct {
		what  string
		ask   Ask
		among []inheritedSocket
		want  int
	}{
		{"a given socket, whatever its address",
			Ask{Name: "http", Network: "tcp", Address: ":9999"},
			[]inheritedSocket{givenAs("", other), givenAs("http", local)}, 1},
		{"a given socket, for port 0", Ask{Name: "http", Network: "tcp", Address: ":0"},
			[]inheritedSocket{givenAs("http", local)}, 0},
		{"the name wins over the address",
			Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"},
			[]inheritedSocket{givenAs("", other), givenAs("http", local)}, 1},
		{"the one of the right kind", Ask{Name: "dns", Network: "udp", Address: ":53"},
			[]inheritedSocket{givenAs("dns", local), givenAs("dns", datagram)}, 1},
		{"an unknown name: the address decides",
			Ask{Name: "web", Network: "tcp", Address: "127.0.0.1:80"},
			[]inheritedSocket{givenAs("http", other), givenAs("http", local)}, 1},
		{"an unknown name and address", Ask{Name: "web", Network: "tcp", Address: "127.0.0.1:81"},
			[]inheritedSocket{givenAs("http", local)}, -1},
		{"our own socket at its address",
			Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"},
			[]inheritedSocket{{ours, other}}, 0},
		{"our own socket at another address",
			Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:9999"},
			[]inheritedSocket{{ours, other}}, -1},
		{"several of one name, by address",
			Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"},
			[]inheritedSocket{givenAs("http", local), givenAs("http", other)}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if got, err := claimAmong(t, tt.ask, 0, tt.among...); got != tt.want || err != nil {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

// A service manager gives all sockets of a unit one name. After a generation has asked for each of
// them, the words of its requests distinguish them, in whatever order the next one asks.
func TestMatchByWordsAmongSocketsOfOneName(t *testing.T) {
	record := func(address string) Record {
		return Record{Name: "web.socket", Network: "tcp", Address: address, Given: true}
	}
	http := inheritedSocket{record(":80"), stream6("[::]:8080")}
	https := inheritedSocket{record(":443"), stream6("[::]:8443")}
	ask := Ask{Name: "web.socket", Network: "tcp", Address: ":443"}
	if got, err := claimAmong(t, ask, 0, http, https); got != 1 || err != nil {
		t.Errorf("got %d, %v; want 1, for which the same was asked before", got, err)
	}
}

func TestMatchByWords(t *testing.T) {
	port0 := func(ordinal int, f facts) inheritedSocket {
		return inheritedSocket{Record{Network: "tcp", Address: "127.0.0.1:0", Ordinal: ordinal}, f}
	}
	first, third := port0(0, stream4("127.0.0.1:4001")), port0(2, stream4("127.0.0.1:4003"))
	autobound := inheritedSocket{Record{Network: "unix"}, unixStream("@00001")}
	host := inheritedSocket{
		Record{Network: "tcp", Address: "db.invalid:80"}, stream4("127.0.0.9:80"),
	}
	tests := []struct {
		what    string
		ask     Ask
		ordinal int
		among   []inheritedSocket
		want    int
	}{
		{"port 0, the same ordinal", Ask{Network: "tcp", Address: "127.0.0.1:0"}, 2,
			[]inheritedSocket{first, third}, 1},
		{"port 0, another ordinal", Ask{Network: "tcp", Address: "127.0.0.1:0"}, 1,
			[]inheritedSocket{first, third}, -1},
		{"port 0, another spelling", Ask{Network: "tcp", Address: "localhost:0"}, 0,
			[]inheritedSocket{first, third}, -1},
		{"port 0, another network", Ask{Network: "tcp4", Address: "127.0.0.1:0"}, 0,
			[]inheritedSocket{first, third}, -1},
		{"port 0, a new name", Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}, 0,
			[]inheritedSocket{first, third}, -1},
		{"a unix socket without a path", Ask{Network: "unix"}, 0, []inheritedSocket{autobound}, 0},
		{"another unix socket without a path", Ask{Network: "unix"}, 1,
			[]inheritedSocket{autobound}, -1},
		{"the same name of a host needs no look-up", Ask{Network: "tcp", Address: "db.invalid:80"},
			0, []inheritedSocket{host}, 0},
		{"the port of a port-0 socket", Ask{Network: "tcp", Address: "127.0.0.1:4003"}, 0,
			[]inheritedSocket{first, third}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			got, err := claimAmong(t, tt.ask, tt.ordinal, tt.among...)
			if got != tt.want || err != nil {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

func TestMatchLooksUpNames(t *testing.T) {
	tests := []struct {
		network, address string
		among            []facts
		want             int
	}{
		{"tcp", "localhost:80", []facts{stream4("0.0.0.0:80"), stream4("127.0.0.1:80")}, 1},
		{"tcp4", "localhost:http", []facts{stream4("127.0.0.1:80")}, 0},
		{"tcp", ":http", []facts{stream4("0.0.0.0:81"), stream4("0.0.0.0:80")}, 1},
		{"udp", ":domain", []facts{datagram4("0.0.0.0:53")}, 0},
	}
	for _, tt := range tests {
		var among []inheritedSocket
		for _, f := range tt.among {
			among = append(among, givenAs("", f))
		}
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.address}, 0, among...)
		if got != tt.want || err != nil {
			t.Errorf("%s %s: got %d, %v; want %d", tt.network, tt.address, got, err, tt.want)
		}
	}
}

func TestMatchUnixPaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	datagram := facts{family: familyUnix, kind: kindDatagram, path: "/run/app.log"}
	tests := []struct {
		network, path string
		has           facts
		want          int
	}{
		{"unix", "/run/app.sock", unixStream("/run/app.sock"), 0},
		{"unix", "/run/../run//app.sock", unixStream("/run/app.sock"), 0},
		{"unix", "app.sock", unixStream(dir + "/app.sock"), 0},
		{"unix", dir + "/app.sock", unixStream("./app.sock"), 0},
		{"unix", "/run/other.sock", unixStream("/run/app.sock"), -1},
		{"unix", "@app", unixStream("@app"), 0},
		{"unix", "@app", unixStream("@ap"), -1},
		{"unix", "@a/../app", unixStream("@app"), -1}, // an abstract name is not a path
		{"unix", "app", unixStream("@app"), -1},
		{"unix", "./@app", unixStream("@app"), -1},
		{"unixgram", "/run/app.log", datagram, 0},
		{"tcp", "127.0.0.1:80", unixStream("127.0.0.1:80"), -1},
	}
	for _, tt := range tests {
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.path}, 0,
			givenAs("", tt.has))
		if got != tt.want || err != nil {
			t.Errorf("%s %s, inherited %s: got %d, %v; want %d",
				tt.network, tt.path, tt.has, got, err, tt.want)
		}
	}
}

func TestMatchRawSockets(t *testing.T) {
	icmp := facts{
		family: familyInet, kind: kindRaw, protocol: 1,
		address: netip.MustParseAddrPort("127.0.0.1:0"),
	}
	tests := []struct {
		network, address string
		want             int
	}{
		{"ip4:icmp", "127.0.0.1", 0},
		{"ip:1", "127.0.0.1", 0},
		{"ip4:udp", "127.0.0.1", -1},
		{"ip4:icmp", "127.0.0.2", -1},
		{"ip6:icmp", "::1", -1},
		{"udp4", "127.0.0.1:0", -1},
	}
	for _, tt := range tests {
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.address}, 0,
			givenAs("", icmp))
		if got != tt.want || err != nil {
			t.Errorf("%s %s: got %d, %v; want %d", tt.network, tt.address, got, err, tt.want)
		}
	}
}

// Each socket is claimed once; an equal Ask gets the next one, or a new one.
func TestMatchEachSocketOnce(t *testing.T) {
	s := inheriting([]inheritedSocket{
		givenAs("a", stream4("127.0.0.1:1")), givenAs("a", stream4("127.0.0.1:2")),
		givenAs("", stream4("127.0.0.1:3")),
	})
	tests := []struct {
		ask  Ask
		want int
	}{
		{Ask{Name: "a", Network: "tcp", Address: ":0"}, 0},
		{Ask{Name: "a", Network: "tcp", Address: ":0"}, 1},
		{Ask{Name: "a", Network: "tcp", Address: ":0"}, -1},
		{Ask{Network: "tcp", Address: "127.0.0.1:3"}, 2},
		{Ask{Network: "tcp", Address: "127.0.0.1:3"}, -1},
		{Ask{Network: "tcp", Address: "127.0.0.1:1"}, -1},
	}
	for i, tt := range tests {
		if got, err := claimFrom(t, s, tt.ask, 0); got != tt.want || err != nil {
			t.Errorf("%d: %s: got %d, %v; want %d", i, tt.ask, got, err, tt.want)
		}
	}
}
