package fds

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// The tests of this file give the facts about sockets by hand, so that they hold on machines without IPv6, privileges or free
// ports as well. Those of claim_test.go show that the facts are true.

func stream4(address string) facts {
	return facts{family: familyInet, kind: kindStream, listening: true, address: netip.MustParseAddrPort(address)}
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

// inherited is a socket that a process has inherited: what it was told about it, and what the kernel says.
type inherited struct {
	record Record
	facts  facts
}

// givenAs is a socket of which only the name is known.
func givenAs(name string, f facts) inherited { return inherited{Record{Name: name, Given: true}, f} }

// inheriting gives a Set with these sockets, none of which there is.
func inheriting(all []inherited) *Set {
	var records []Record
	for _, i := range all {
		records = append(records, i.record)
	}
	s := New()
	s.estate = newEstate(records)
	for i := range all {
		s.estate.heirs[i].facts = &all[i].facts
	}
	return s
}

// claimFrom asks a Set for a socket, and gives the index of the inherited one that is meant, or -1 for none.
func claimFrom(t *testing.T, s *Set, ask Ask, ordinal int) (int, error) {
	t.Helper()
	h, err := s.claim(t.Context(), ask, ordinal)
	if h == nil {
		return -1, err
	}
	return h.fd - First, err
}

func claimAmong(t *testing.T, ask Ask, ordinal int, all ...inherited) (int, error) {
	t.Helper()
	return claimFrom(t, inheriting(all), ask, ordinal)
}

func TestMatchByAddress(t *testing.T) {
	v4, dual, v6 := stream4("0.0.0.0:80"), stream6("[::]:80"), only6("[::]:80")
	local4, local6, link := stream4("127.0.0.1:80"), only6("[::1]:80"), only6("[fe80::1%lo]:80")
	mapped := stream6("[::ffff:127.0.0.1]:80")
	tests := []struct {
		network, address string
		heirs            []facts
		want             int
	}{
		// Every spelling of the wildcard means the same to "tcp": a socket of both families, or what comes nearest.
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
		// A single family wants its own socket, and takes one of both.
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
		var heirs []inherited
		var has []string
		for _, f := range tt.heirs {
			heirs, has = append(heirs, givenAs("", f)), append(has, f.String())
		}
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.address}, 0, heirs...)
		if got != tt.want || err != nil {
			t.Errorf("%s %s among %q: got %d, %v; want %d", tt.network, tt.address, has, got, err, tt.want)
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
		heirs []inherited
		want  int
	}{
		{"a given socket, whatever its address", Ask{Name: "http", Network: "tcp", Address: ":9999"}, []inherited{givenAs("", other), givenAs("http", local)}, 1},
		{"a given socket, for port 0", Ask{Name: "http", Network: "tcp", Address: ":0"}, []inherited{givenAs("http", local)}, 0},
		{"the name wins over the address", Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"}, []inherited{givenAs("", other), givenAs("http", local)}, 1},
		{"the one of the right kind", Ask{Name: "dns", Network: "udp", Address: ":53"}, []inherited{givenAs("dns", local), givenAs("dns", datagram)}, 1},
		{"an unknown name: the address decides", Ask{Name: "web", Network: "tcp", Address: "127.0.0.1:80"}, []inherited{givenAs("http", other), givenAs("http", local)}, 1},
		{"an unknown name and address", Ask{Name: "web", Network: "tcp", Address: "127.0.0.1:81"}, []inherited{givenAs("http", local)}, -1},
		{"our own socket at its address", Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"}, []inherited{{ours, other}}, 0},
		{"our own socket at another address", Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:9999"}, []inherited{{ours, other}}, -1},
		{"several of one name, by address", Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:8080"}, []inherited{givenAs("http", local), givenAs("http", other)}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if got, err := claimAmong(t, tt.ask, 0, tt.heirs...); got != tt.want || err != nil {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

// A service manager gives all sockets of a unit one name. Once a generation has asked for each of them, its words tell them
// apart, whatever the order in which the next one asks.
func TestMatchByWordsAmongSocketsOfOneName(t *testing.T) {
	record := func(address string) Record {
		return Record{Name: "web.socket", Network: "tcp", Address: address, Given: true}
	}
	http, https := inherited{record(":80"), stream6("[::]:8080")}, inherited{record(":443"), stream6("[::]:8443")}
	ask := Ask{Name: "web.socket", Network: "tcp", Address: ":443"}
	if got, err := claimAmong(t, ask, 0, http, https); got != 1 || err != nil {
		t.Errorf("got %d, %v; want 1, for which the same was asked before", got, err)
	}
}

func TestMatchByWords(t *testing.T) {
	port0 := func(ordinal int, f facts) inherited {
		return inherited{Record{Network: "tcp", Address: "127.0.0.1:0", Ordinal: ordinal}, f}
	}
	first, third := port0(0, stream4("127.0.0.1:4001")), port0(2, stream4("127.0.0.1:4003"))
	autobound := inherited{Record{Network: "unix"}, unixStream("@00001")}
	host := inherited{Record{Network: "tcp", Address: "db.invalid:80"}, stream4("127.0.0.9:80")}
	tests := []struct {
		what    string
		ask     Ask
		ordinal int
		heirs   []inherited
		want    int
	}{
		{"port 0, the same ordinal", Ask{Network: "tcp", Address: "127.0.0.1:0"}, 2, []inherited{first, third}, 1},
		{"port 0, another ordinal", Ask{Network: "tcp", Address: "127.0.0.1:0"}, 1, []inherited{first, third}, -1},
		{"port 0, another spelling", Ask{Network: "tcp", Address: "localhost:0"}, 0, []inherited{first, third}, -1},
		{"port 0, another network", Ask{Network: "tcp4", Address: "127.0.0.1:0"}, 0, []inherited{first, third}, -1},
		{"port 0, a new name", Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}, 0, []inherited{first, third}, -1},
		{"a unix socket without a path", Ask{Network: "unix"}, 0, []inherited{autobound}, 0},
		{"another unix socket without a path", Ask{Network: "unix"}, 1, []inherited{autobound}, -1},
		{"the same name of a host needs no look-up", Ask{Network: "tcp", Address: "db.invalid:80"}, 0, []inherited{host}, 0},
		{"the port of a port-0 socket", Ask{Network: "tcp", Address: "127.0.0.1:4003"}, 0, []inherited{first, third}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if got, err := claimAmong(t, tt.ask, tt.ordinal, tt.heirs...); got != tt.want || err != nil {
				t.Errorf("got %d, %v; want %d", got, err, tt.want)
			}
		})
	}
}

func TestMatchLooksUpNames(t *testing.T) {
	tests := []struct {
		network, address string
		heirs            []facts
		want             int
	}{
		{"tcp", "localhost:80", []facts{stream4("0.0.0.0:80"), stream4("127.0.0.1:80")}, 1},
		{"tcp4", "localhost:http", []facts{stream4("127.0.0.1:80")}, 0},
		{"tcp", ":http", []facts{stream4("0.0.0.0:81"), stream4("0.0.0.0:80")}, 1},
		{"udp", ":domain", []facts{datagram4("0.0.0.0:53")}, 0},
	}
	for _, tt := range tests {
		var heirs []inherited
		for _, f := range tt.heirs {
			heirs = append(heirs, givenAs("", f))
		}
		if got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.address}, 0, heirs...); got != tt.want || err != nil {
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
		heir          facts
		want          int
	}{
		{"unix", "/run/app.sock", unixStream("/run/app.sock"), 0},
		{"unix", "/run/../run//app.sock", unixStream("/run/app.sock"), 0},
		{"unix", "app.sock", unixStream(dir + "/app.sock"), 0},
		{"unix", dir + "/app.sock", unixStream("./app.sock"), 0},
		{"unix", "/run/other.sock", unixStream("/run/app.sock"), -1},
		{"unix", "@app", unixStream("@app"), 0},
		{"unix", "@app", unixStream("@ap"), -1},
		{"unix", "@a/../app", unixStream("@app"), -1}, // an abstract name is no path
		{"unix", "app", unixStream("@app"), -1},
		{"unix", "./@app", unixStream("@app"), -1},
		{"unixgram", "/run/app.log", datagram, 0},
		{"tcp", "127.0.0.1:80", unixStream("127.0.0.1:80"), -1},
	}
	for _, tt := range tests {
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.path}, 0, givenAs("", tt.heir))
		if got != tt.want || err != nil {
			t.Errorf("%s %s, inherited %s: got %d, %v; want %d", tt.network, tt.path, tt.heir, got, err, tt.want)
		}
	}
}

func TestMatchOfWrongKindNamesBoth(t *testing.T) {
	local := stream4("127.0.0.1:80")
	path := unixStream("/run/app.sock")
	tests := []struct {
		what string
		ask  Ask
		heir inherited
		says []string
	}{
		{"named, datagrams for a stream", Ask{Name: "http", Network: "tcp", Address: ":80"}, givenAs("http", datagram4("127.0.0.1:80")),
			[]string{"tcp :80", "an IPv4 datagram socket 127.0.0.1:80"}},
		{"named, a stream for datagrams", Ask{Name: "http", Network: "udp", Address: ":80"}, givenAs("http", local),
			[]string{"udp :80", "a listening IPv4 stream socket 127.0.0.1:80"}},
		{"named, IPv4 for IPv6", Ask{Name: "http", Network: "tcp6", Address: ":80"}, givenAs("http", local),
			[]string{"tcp6 :80", "a listening IPv4 stream socket"}},
		{"named, IPv6 alone for IPv4", Ask{Name: "http", Network: "tcp4", Address: ":80"}, givenAs("http", only6("[::]:80")),
			[]string{"tcp4 :80", "a listening IPv6 stream socket [::]:80"}},
		{"named, an IPv6 address for IPv4", Ask{Name: "http", Network: "tcp4", Address: ":80"}, givenAs("http", stream6("[::1]:80")),
			[]string{"tcp4 :80", "a listening IPv6 stream socket [::1]:80"}},
		{"named, unix for TCP", Ask{Name: "http", Network: "tcp", Address: ":80"}, givenAs("http", path),
			[]string{"tcp :80", "a listening unix stream socket /run/app.sock"}},
		{"named, TCP for unix", Ask{Name: "http", Network: "unix", Address: "/run/app.sock"}, givenAs("http", local),
			[]string{"unix /run/app.sock", "a listening IPv4 stream socket"}},
		{"named, unix streams for packets", Ask{Name: "http", Network: "unixpacket", Address: "/x"}, givenAs("http", path),
			[]string{"unixpacket /x", "a listening unix stream socket"}},
		{"a path that is taken by another kind", Ask{Network: "unixgram", Address: "/run/app.sock"}, givenAs("log", path),
			[]string{"unixgram /run/app.sock", `"log"`, "a listening unix stream socket /run/app.sock"}},
		{"an address that is taken by a connection", Ask{Network: "tcp", Address: "127.0.0.1:80"}, givenAs("", connected(local)),
			[]string{"tcp 127.0.0.1:80", "a connected IPv4 stream socket 127.0.0.1:80"}},
		{"a connected datagram socket", Ask{Network: "udp", Address: "127.0.0.1:80"}, givenAs("", connected(datagram4("127.0.0.1:80"))),
			[]string{"udp 127.0.0.1:80", "a connected IPv4 datagram socket"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			got, err := claimAmong(t, tt.ask, 0, tt.heir)
			if got != -1 || !errors.Is(err, ErrWrongKind) {
				t.Fatalf("got %d, %v; want ErrWrongKind", got, err)
			}
			for _, words := range append(tt.says, "descriptor 3") {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("error %q does not say %q", err, words)
				}
			}
		})
	}
}

func TestMatchRawSockets(t *testing.T) {
	icmp := facts{family: familyInet, kind: kindRaw, protocol: 1, address: netip.MustParseAddrPort("127.0.0.1:0")}
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
		got, err := claimAmong(t, Ask{Network: tt.network, Address: tt.address}, 0, givenAs("", icmp))
		if got != tt.want || err != nil {
			t.Errorf("%s %s: got %d, %v; want %d", tt.network, tt.address, got, err, tt.want)
		}
	}
}

func TestMatchRefusesNonsense(t *testing.T) {
	for _, ask := range []Ask{
		{Network: "tcp", Address: "127.0.0.1"}, {Network: "tcp", Address: ":99999"}, {Network: "tcp", Address: ":-1"},
		{Network: "tcp", Address: ":no-such-service"}, {Network: "tcp", Address: "::1:80"},
	} {
		if got, err := claimAmong(t, ask, 0, givenAs("", stream4("127.0.0.1:80"))); got != -1 || err == nil {
			t.Errorf("%s: got %d, %v; want an error", ask, got, err)
		}
	}
}

// Each socket is handed out once; the next Ask of the same kind gets the next one, or a new one.
func TestMatchEachSocketOnce(t *testing.T) {
	s := inheriting([]inherited{
		givenAs("a", stream4("127.0.0.1:1")), givenAs("a", stream4("127.0.0.1:2")), givenAs("", stream4("127.0.0.1:3")),
	})
	tests := []struct {
		ask  Ask
		want int
	}{
		{Ask{Name: "a", Network: "tcp", Address: ":0"}, 0}, {Ask{Name: "a", Network: "tcp", Address: ":0"}, 1}, {Ask{Name: "a", Network: "tcp", Address: ":0"}, -1},
		{Ask{Network: "tcp", Address: "127.0.0.1:3"}, 2}, {Ask{Network: "tcp", Address: "127.0.0.1:3"}, -1}, {Ask{Network: "tcp", Address: "127.0.0.1:1"}, -1},
	}
	for i, tt := range tests {
		if got, err := claimFrom(t, s, tt.ask, 0); got != tt.want || err != nil {
			t.Errorf("%d: %s: got %d, %v; want %d", i, tt.ask, got, err, tt.want)
		}
	}
}
