package mixed

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The tests of this file prove that "failed 0" means something.

func newKind(patience time.Duration) *kind {
	return &kind{
		patience: patience, serving: new(atomic.Int64), newGeneration: make(chan struct{}, 1),
	}
}

func newIdentity() identity { return identity{"test", rand.New(rand.NewPCG(1, 1))} }

// brokenServer reads a line of each connection, calls serve, and hangs up.
func brokenServer(t *testing.T, serve func(request string, c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the test
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			line, _ := bufio.NewReader(c).ReadString('\n')
			serve(strings.TrimSuffix(line, "\n"), c)
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

func expectError(t *testing.T, err, want error, text string) {
	t.Helper()
	if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("the client got %v, not %v %q", err, want, text)
	}
}

func TestLineClientNoticesFailures(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   error
		text   string
	}{
		"no answer":      {"", io.ErrUnexpectedEOF, ""},
		"cut short":      {`{"text": "te`, io.ErrUnexpectedEOF, ""},
		"another answer": {`{"text": "somebody's", "generation": 1}`, nil, "the answer to"},
		"not an answer":  {"SSH-2.0\n", nil, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := brokenServer(t, func(_ string, c net.Conn) {
				_, _ = io.WriteString(c, test.answer)
			})
			c := &lineClient{
				identity: newIdentity(), kind: newKind(time.Minute),
				network: "tcp", addr: addr, keepAlive: true,
			}
			defer c.hangUp()
			_, err := c.request(1)
			expectError(t, err, test.want, test.text)
		})
	}
}

func TestLineClientObeysTheLastAnswer(t *testing.T) {
	addr := brokenServer(t, func(request string, c net.Conn) {
		_ = json.NewEncoder(c).Encode(answer{Text: request, Generation: 7, Last: true})
	})
	k := newKind(time.Minute)
	c := &lineClient{
		identity: newIdentity(), kind: k,
		network: "tcp", addr: addr, keepAlive: true,
	}
	defer c.hangUp()
	for n := range 3 {
		if generation, err := c.request(n); err != nil || generation != 7 {
			t.Errorf("request %d: generation %d, %v", n, generation, err)
		}
	}
	if dials := k.tally().dials; dials != 3 {
		t.Errorf("%d connections for 3 last answers", dials)
	}
}

func TestLineClientIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c := &lineClient{
		identity: newIdentity(), kind: newKind(time.Minute), network: "tcp", addr: addr,
	}
	if _, err := c.request(1); err == nil {
		t.Error("an answer from nobody")
	}
}

func TestPacketClientNoticesFailures(t *testing.T) {
	server, err := net.ListenPacket("udp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := &packetClient{
		identity: newIdentity(), kind: newKind(10 * time.Millisecond),
		addr: server.LocalAddr().String(),
	}
	defer c.hangUp()
	_, err = c.request(1) // stays in the socket
	expectError(t, err, os.ErrDeadlineExceeded, "")

	c.kind.patience = time.Minute
	go func() { // ends with the second datagram, or with the test
		b := make([]byte, 2000)
		for range 2 {
			if _, from, err := server.ReadFrom(b); err == nil {
				_, _ = server.WriteTo([]byte(`{"text": "test-1"}`), from)
			}
		}
	}()
	_, err = c.request(2)
	expectError(t, err, nil, "the answer to")
}

var brokenStreams = map[string]struct {
	change func(ticks []tick) []tick
	want   error
	text   string
}{
	"broken off": {func(s []tick) []tick { return s[:2] }, io.ErrUnexpectedEOF, "tick 3 of"},
	"skipped":    {func(s []tick) []tick { return append(s[:1], s[2:]...) }, nil, "Number:3"},
	"repeated":   {func(s []tick) []tick { s[1].Number = 1; return s }, nil, "Number:1"},
	"too long": {
		func(s []tick) []tick { return append(s, tick{Number: len(s) + 1}) },
		nil, "expected the end",
	},
	"somebody else's": {func(s []tick) []tick { s[1].ID = "else"; return s }, nil, "ID:else"},
	"another generation": {
		func(s []tick) []tick { s[3].Generation = 8; return s }, nil, "Generation:8",
	},
	"good": {func(s []tick) []tick { return s }, nil, ""},
}

func TestStreamClientNoticesFailures(t *testing.T) {
	for name, test := range brokenStreams {
		t.Run(name, func(t *testing.T) {
			addr := brokenServer(t, func(request string, c net.Conn) {
				var r streamRequest
				if err := json.Unmarshal([]byte(request), &r); err != nil {
					t.Error(err)
				}
				var ticks []tick
				for n := 1; n <= r.Ticks; n++ {
					ticks = append(ticks, tick{ID: r.ID, Number: n, Generation: 7})
				}
				for _, tick := range test.change(ticks) {
					_ = json.NewEncoder(c).Encode(tick)
				}
			})
			c := &streamClient{
				identity: newIdentity(), kind: newKind(time.Minute),
				addr: addr, longest: 10 * tickInterval,
			}
			generation, err := c.request(1)
			if name != "good" {
				expectError(t, err, test.want, test.text)
			} else if err != nil || generation != 7 {
				t.Errorf("a good stream: generation %d, %v", generation, err)
			}
		})
	}
}
