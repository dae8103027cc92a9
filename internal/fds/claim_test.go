//go:build unix

package fds

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestInspect(t *testing.T) {
	path := sockPath(t)
	tcp := listenOn(t, "tcp4", "127.0.0.1:0")
	client, err := net.Dial("tcp4", tcp.Addr().String())
	must(t, err)
	defer client.Close()
	udp := listenPacketOn(t, "udp4", "127.0.0.1:0")
	udpClient, err := net.Dial("udp4", udp.LocalAddr().String())
	must(t, err)
	defer udpClient.Close()
	tests := []struct {
		fd       int
		says     string
		servable bool
	}{
		{fdOf(t, tcp), "a listening IPv4 stream socket " + tcp.Addr().String(), true},
		{fdOf(t, client), "a connected IPv4 stream socket " + client.LocalAddr().String(), false},
		{boundSocket(t), "a not listening IPv4 stream socket 127.0.0.1:", false},
		{fdOf(t, udp), "an IPv4 datagram socket " + udp.LocalAddr().String(), true},
		{fdOf(t, udpClient), "a connected IPv4 datagram socket " + udpClient.LocalAddr().String(),
			false},
		{fdOf(t, listenOn(t, "unix", path)), "a listening unix stream socket " + path, true},
		{fdOf(t, listenPacketOn(t, "unixgram", path+"d")), "a unix datagram socket " + path + "d",
			true},
		{int(helpertest.OpenFile(t, os.Args[0]).Fd()), "a file", false},
		{int(helpertest.OpenFile(t, os.TempDir()).Fd()), "a directory", false},
		{int(helpertest.OpenFile(t, os.DevNull).Fd()), "a device", false},
		{8191, "closed", false},
		{packetSocket(t), "a not listening unix ", false},
	}
	for _, tt := range tests {
		f := inspect(tt.fd)
		if !strings.HasPrefix(f.String(), tt.says) || f.servable() != tt.servable {
			t.Errorf("got %q, servable %t; want %q, %t", f, f.servable(), tt.says, tt.servable)
		}
	}
}

// packetSocket returns a unix socket that does not listen: for sequential packets, or for a stream
// if the system has none.
func packetSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	}
	must(t, err)
	unix.CloseOnExec(fd)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// The tests of match_test.go again with real sockets, whose addresses the kernel reports.
func TestOpenTakesWhatWasBoundElsewhere(t *testing.T) {
	needIPv6(t)
	tests := []struct{ network, address, asNetwork, asHost string }{
		{"tcp", "[::]:0", "tcp", ""},
		{"tcp", "[::]:0", "tcp", "0.0.0.0"},
		{"tcp", "[::]:0", "tcp4", ""},
		{"tcp", "[::]:0", "tcp6", "::"},
		{"tcp4", "0.0.0.0:0", "tcp", "::"},
		{"tcp4", "0.0.0.0:0", "tcp4", ""},
		{"tcp6", "[::]:0", "tcp", ""},
		{"tcp6", "[::]:0", "tcp6", ""},
		{"tcp", "127.0.0.1:0", "tcp", "localhost"},
		{"tcp4", "127.0.0.1:0", "tcp", "127.0.0.1"},
		{"tcp6", "[::1]:0", "tcp", "::1"},
	}
	for _, tt := range tests {
		ln := listenOn(t, tt.network, tt.address)
		s, _ := newSetWith(t, passedSocket{Record{Given: true}, ln})
		_, port, err := net.SplitHostPort(ln.Addr().String())
		must(t, err)
		ask := Ask{Network: tt.asNetwork, Address: net.JoinHostPort(tt.asHost, port)}
		if sock := openAsk(t, s, ask); !sock.Inherited() ||
			sock.Addr().String() != ln.Addr().String() {
			t.Errorf("%s %s, asked for by %s: got %s, inherited %t",
				tt.network, ln.Addr(), ask, sock.Addr(), sock.Inherited())
		}
	}
}

// A socket of IPv4 and one of only IPv6 can be bound to the same port, so neither replaces the
// other.
func TestOpenBindsBesideTheOtherFamily(t *testing.T) {
	needIPv6(t)
	for network, other := range map[string]string{"tcp4": "tcp6", "tcp6": "tcp4"} {
		helpertest.Eventually(t, "a port that is free in both families", func() bool {
			ln := listenOn(t, network, ":0")
			s, numbers := newSetWith(t, passedSocket{Record{Given: true}, ln})
			_, port, err := net.SplitHostPort(ln.Addr().String())
			must(t, err)
			sock, err := s.Open(t.Context(), Ask{Network: other, Address: ":" + port})
			if errors.Is(err, syscall.EADDRINUSE) {
				return false // some other process has it
			}
			if err != nil || sock.Inherited() || !helpertest.IsOpen(numbers[0]) {
				t.Errorf("%s while %s was inherited: %v", other, network, err)
			}
			return true
		})
	}
}

func TestOpenTakesEachKind(t *testing.T) {
	dir := sockDir(t)
	conns := map[string]any{
		"tcp": listenOn(t, "tcp", "127.0.0.1:0"), "unix": listenOn(t, "unix", dir+"/s"),
		"udp":      listenPacketOn(t, "udp", "127.0.0.1:0"),
		"unixgram": listenPacketOn(t, "unixgram", dir+"/d"),
	}
	if ln, err := net.Listen("unixpacket", dir+"/p"); err == nil { // macOS has none
		defer ln.Close()
		conns["unixpacket"] = ln
	}
	for network, conn := range conns {
		s, numbers := newSetWith(t, passedSocket{Record{Name: "it", Given: true}, conn})
		before := len(helpertest.OpenDescriptors())
		sock := openAsk(t, s, Ask{Name: "it", Network: network, Address: "/nowhere:0"})
		if got := sock.Addr().Network(); got != network || !sock.Inherited() ||
			!sock.Record().Given {
			t.Errorf("%s: got a %s socket, inherited %t, given %t",
				network, got, sock.Inherited(), sock.Record().Given)
		}
		if after := len(helpertest.OpenDescriptors()); after != before ||
			helpertest.IsOpen(numbers[0]) {
			t.Errorf("%s: %d descriptors became %d", network, before, after)
		}
		if !isNonblocking(t, fdOf(t, conn)) {
			t.Errorf("%s: the socket, which other processes share, was put into blocking mode",
				network)
		}
	}
}

// A given socket may be in blocking mode, as those of a service manager are; the runtime's poller
// needs the nonblocking mode.
func TestOpenMakesGivenSocketNonblocking(t *testing.T) {
	fd := boundSocket(t)
	must(t, unix.Listen(fd, 1))
	s := New()
	defer s.Close()
	s.inherited = newInheritance([]Record{{Name: "it", Given: true}})
	s.inherited.descriptors[0].fd = dup(t, fd)
	sock := openAsk(t, s, Ask{Name: "it", Network: "tcp", Address: ":0"})
	if !isNonblocking(t, fdOf(t, sock.Conn())) {
		t.Error("Accept would block a thread, and Close would wait for it")
	}
}

// If a parent describes a descriptor wrongly, Open fails, and the descriptor is closed with the
// other unclaimed ones.
func TestOpenOfFalselyDescribedSocket(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	client, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer client.Close()
	tests := []struct {
		network string
		conn    any
		given   bool
	}{
		{"tcp", listenPacketOn(t, "udp", "127.0.0.1:0"), false},
		{"tcp", listenOn(t, "unix", sockPath(t)), false},
		{"tcp", helpertest.OpenFile(t, os.Args[0]), false},
		{"udp", helpertest.OpenFile(t, os.Args[0]), false},
		{"udp", ln, false},
		{"unixgram", listenOn(t, "unix", sockPath(t)), false},
		{"unix", listenPacketOn(t, "unixgram", sockPath(t)), false},
		{"tcp", client, true}, // the parent passes on the description that it was given
	}
	for _, tt := range tests {
		words := Record{Network: tt.network, Address: ":0", Given: tt.given}
		s, numbers := newSetWith(t, passedSocket{words, tt.conn})
		before := len(helpertest.OpenDescriptors())
		sock, err := s.Open(t.Context(), Ask{Network: words.Network, Address: words.Address})
		if err == nil {
			t.Fatalf("%s: got the socket %s", tt.network, sock.Addr())
		}
		if !strings.Contains(err.Error(), tt.network+" :0") ||
			!strings.Contains(err.Error(), "descriptor") {
			t.Errorf("error %q does not say what was asked for, and which descriptor is wrong", err)
		}
		if after := len(helpertest.OpenDescriptors()); after != before {
			t.Errorf("%s: the failure made %d descriptors of %d", tt.network, after, before)
		}
		s.CloseUnclaimed()
		if helpertest.IsOpen(numbers[0]) {
			t.Errorf("%s: the descriptor is left open", tt.network)
		}
	}
}

// Two goroutines may open sockets while a third one closes the unclaimed ones.
func TestClaimThatFailsAfterCloseUnclaimedLeavesNothing(t *testing.T) {
	file := helpertest.OpenFile(t, os.Args[0])
	s, numbers := newSetWith(t, passedSocket{Record{Network: "tcp", Address: ":0"}, file})
	d, err := s.claim(t.Context(), Ask{Network: "tcp", Address: ":0"}, 0)
	if d == nil || err != nil {
		t.Fatal(d, err)
	}
	s.CloseUnclaimed()
	s.disclaim(d)
	must(t, s.Close())
	if helpertest.IsOpen(numbers[0]) {
		t.Error("the descriptor is left open: nobody will ever close it")
		_ = unix.Close(numbers[0])
	}
}

func TestClaimThatFailsCanBeRepeatedByAddress(t *testing.T) {
	ln, other := listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "tcp", "127.0.0.1:0")
	s, _ := newSetWith(t, passedSocket{Record{Name: "it", Given: true}, ln},
		passedSocket{Record{Given: true}, other})
	d, err := s.claim(t.Context(), Ask{Name: "it", Network: "tcp", Address: ":0"}, 0)
	if d == nil || err != nil {
		t.Fatal(d, err)
	}
	open(t, s, "tcp", other.Addr().String()) // indexes the addresses of the unclaimed descriptors
	s.disclaim(d)
	sock, err := s.Open(t.Context(), Ask{Network: "tcp", Address: ln.Addr().String()})
	if err != nil || !sock.Inherited() {
		t.Errorf("the socket is no longer found: %v", err)
	}
}

// A socket that was asked for by address keeps its name from the service manager: a later
// generation may ask by name.
func TestGivenSocketKeepsItsName(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	s, _ := newSetWith(t, passedSocket{Record{Name: "http", Given: true}, ln})
	open(t, s, "tcp", ln.Addr().String())
	if got := Announce(lend(t, s)); len(got) != 2 || got[1] != "LISTEN_FDNAMES=http" {
		t.Errorf("the next generation is told %q", got)
	}
}

func TestOpenBoundsLookupByContext(t *testing.T) {
	system := net.DefaultResolver
	defer func() { net.DefaultResolver = system }()
	asked := make(chan struct{}, 16)
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			asked <- struct{}{}
			<-ctx.Done() // a name server that does not answer
			return nil, ctx.Err()
		},
	}
	s, _ := newSetWith(t, passedSocket{Record{Given: true}, listenOn(t, "tcp", "127.0.0.1:0")})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // ends with the first question
		<-asked
		cancel()
	}()
	_, err := s.Open(ctx, Ask{Network: "tcp", Address: "host.example:80"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the error of the context", err)
	}
}

// Raw sockets need a privilege (CAP_NET_RAW), and so does this test. The kernel reports their
// protocol instead of a port.
func TestOpenTakesRawSocket(t *testing.T) {
	pc, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("raw sockets are not allowed here: %v", err)
	}
	must(t, err)
	defer pc.Close()
	for _, record := range []Record{
		{Name: "ping", Given: true},
		{Network: "ip4:icmp", Address: "127.0.0.1", Name: "ping"},
		{Given: true},
	} {
		s, _ := newSetWith(t, passedSocket{record, pc})
		sock := openAsk(t, s, Ask{Name: "ping", Network: "ip4:icmp", Address: "127.0.0.1"})
		if !sock.Inherited() {
			t.Errorf("record %+v: bound a new socket", record)
		}
	}
}
