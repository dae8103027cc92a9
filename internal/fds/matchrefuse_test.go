package fds

import (
	"errors"
	"strings"
	"testing"
)

func TestMatchOfWrongKindNamesBoth(t *testing.T) {
	local := stream4("127.0.0.1:80")
	path := unixStream("/run/app.sock")
	tests := []struct {
		what string
		ask  Ask
		has  inheritedSocket
		says []string
	}{
		{"named, datagrams for a stream", Ask{Name: "http", Network: "tcp", Address: ":80"},
			givenAs("http", datagram4("127.0.0.1:80")),
			[]string{"tcp :80", "an IPv4 datagram socket 127.0.0.1:80"}},
		{"named, a stream for datagrams", Ask{Name: "http", Network: "udp", Address: ":80"},
			givenAs("http", local),
			[]string{"udp :80", "a listening IPv4 stream socket 127.0.0.1:80"}},
		{"named, IPv4 for IPv6", Ask{Name: "http", Network: "tcp6", Address: ":80"},
			givenAs("http", local),
			[]string{"tcp6 :80", "a listening IPv4 stream socket"}},
		{"named, IPv6 alone for IPv4", Ask{Name: "http", Network: "tcp4", Address: ":80"},
			givenAs("http", only6("[::]:80")),
			[]string{"tcp4 :80", "a listening IPv6 stream socket [::]:80"}},
		{"named, an IPv6 address for IPv4", Ask{Name: "http", Network: "tcp4", Address: ":80"},
			givenAs("http", stream6("[::1]:80")),
			[]string{"tcp4 :80", "a listening IPv6 stream socket [::1]:80"}},
		{"named, unix for TCP", Ask{Name: "http", Network: "tcp", Address: ":80"},
			givenAs("http", path),
			[]string{"tcp :80", "a listening unix stream socket /run/app.sock"}},
		{"named, TCP for unix", Ask{Name: "http", Network: "unix", Address: "/run/app.sock"},
			givenAs("http", local),
			[]string{"unix /run/app.sock", "a listening IPv4 stream socket"}},
		{"named, unix streams for packets", Ask{Name: "http", Network: "unixpacket", Address: "/x"},
			givenAs("http", path),
			[]string{"unixpacket /x", "a listening unix stream socket"}},
		{"a path that is taken by another kind", Ask{Network: "unixgram", Address: "/run/app.sock"},
			givenAs("log", path),
			[]string{"unixgram /run/app.sock", `"log"`,
				"a listening unix stream socket /run/app.sock"}},
		{"an address that is taken by a connection", Ask{Network: "tcp", Address: "127.0.0.1:80"},
			givenAs("", connected(local)),
			[]string{"tcp 127.0.0.1:80", "a connected IPv4 stream socket 127.0.0.1:80"}},
		{"a connected datagram socket", Ask{Network: "udp", Address: "127.0.0.1:80"},
			givenAs("", connected(datagram4("127.0.0.1:80"))),
			[]string{"udp 127.0.0.1:80", "a connected IPv4 datagram socket"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			got, err := claimAmong(t, tt.ask, 0, tt.has)
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

func TestMatchRefusesNonsense(t *testing.T) {
	for _, ask := range []Ask{
		{Network: "tcp", Address: "127.0.0.1"},
		{Network: "tcp", Address: ":99999"},
		{Network: "tcp", Address: ":-1"},
		{Network: "tcp", Address: ":no-such-service"}, {Network: "tcp", Address: "::1:80"},
	} {
		got, err := claimAmong(t, ask, 0, givenAs("", stream4("127.0.0.1:80")))
		if got != -1 || err == nil {
			t.Errorf("%s: got %d, %v; want an error", ask, got, err)
		}
	}
}
