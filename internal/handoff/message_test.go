package handoff

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

func hello() *Hello {
	return &Hello{
		Version: Version, PID: 4711, Generation: 3, Handoff: "4F2K",
		Timeout: time.Minute, Drain: 30 * time.Second,
		Sockets: []fds.Record{
			{Name: "http", Network: "tcp", Address: ":80"},
			{Network: "tcp", Address: "127.0.0.1:0", Ordinal: 12},
			{
				Network: "tcp", Address: ":80", Path: "/a",
				Traits: fds.Traits{Namespace: "1", Device: "eth0", Options: "mark 1"},
			},
			{Name: "admin", Given: true},
			// a path may have any bytes
			{Network: "unix", Address: "/run/\xff\x00 \u2028.sock", File: "8:1:1234567890"},
			{},
		},
		Extras: []ExtraFile{
			{Use: UseProcess, PID: 4711, Generation: 2},
			{Use: UseLink, PID: 4000, Generation: 1},
			{Use: UseLink, PID: 3999, Generation: 1, Legacy: true},
			{Use: UseFile, Name: "access log"},
			{Use: UseState},
			{},
		},
		Environ: []string{"PATH=/bin", "A="},
	}
}

// messages returns a message of each kind with all fields set, and one with none.
func messages() []Message {
	return []Message{
		hello(), &Hello{Version: Version}, &Ready{},
		&Commit{[]Followed{{1, time.Second, "\x00\x00"}, {}}}, &Commit{}, &Serving{},
		&Failed{Reason: "the \"port\" is\ntaken"}, &Failed{}, &Abort{Reason: "too late"}, &Abort{},
		&Drained{Duration: 1500 * time.Millisecond, Error: "hook: failed",
			Cut: []Cut{{"tcp :80", 3}, {"unix /run/s", 1}}}, &Drained{},
		&Accept{Probation: time.Minute}, &Accept{}, &Leave{Reason: "too many"}, &Leave{},
		&Offers{[]Offer{{"chat", "\x00half a line"}, {}}, 7}, &Offers{},
		&Answers{[]Answer{{Taken: true}, {Reason: "who?"}, {}}, 7}, &Answers{}, &Revoked{},
		&Ceded{}, &Redirect{},
	}
}

func TestEncodeDecode(t *testing.T) {
	seen := make(map[kind]bool)
	for _, want := range messages() {
		seen[want.kind()] = true
		frame, err := encode(want)
		if err != nil {
			t.Fatalf("encode %s: %v", Name(want), err)
		}
		if n, err := frameLen(frame); n != len(frame) || err != nil {
			t.Errorf("%s: length %d, %v; want %d", Name(want), n, err, len(frame))
		}
		if got, err := decode(frame); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	for k := range 256 {
		if m := newMessage(kind(k)); (m != nil) != seen[kind(k)] {
			t.Errorf("this test has a message of type %q: %t; the protocol has one: %t",
				rune(k), seen[kind(k)], m != nil)
		}
	}
}

// A duration arrives as it was sent, whatever the size of an int.
func TestLongDurationsArrive(t *testing.T) {
	for _, d := range []time.Duration{
		35 * time.Minute, 36 * time.Minute, time.Hour, 71*time.Minute + 36*time.Second,
		24 * time.Hour, MaxDuration,
	} {
		for _, want := range []Message{
			&Hello{Version: Version, Timeout: d, Drain: d}, &Accept{Probation: d},
			&Commit{[]Followed{{Generation: 1, Left: d}}}, &Drained{Duration: d},
		} {
			frame, err := encode(want)
			if err != nil {
				t.Fatalf("encode %+v: %v", want, err)
			}
			if got, err := decode(frame); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v: got %+v, %v; want %+v", d, got, err, want)
			}
		}
	}
}

// frameOf returns a frame of any bytes.
func frameOf(k kind, body ...byte) []byte {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(frame, byte(k)), body...)
}

// A newer program of the same protocol version may send fields that this one does not know.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	for _, want := range messages() {
		frame, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		body := append(frame[headerLen:], 250, 3, 'n', 'e', 'w', 251, 0)
		if got, err := decode(frameOf(want.kind(), body...)); err != nil ||
			!reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

// badFrames are frames that no process of this version sends.
var badFrames = []struct {
	what  string
	frame []byte
	says  string
}{
	{"unknown type", frameOf('X'), `unknown type 'X'`},
	{"no type at all", []byte{0, 0, 0, 0, 'R'}, "length of 0"},
	{"too long", []byte{0, 1, 0, 2, 'R'}, "length of 65538, and at most 65537 are allowed"},
	{"far too long", []byte{0xff, 0xff, 0xff, 0xff, 'F'}, "length of 4294967295"},
	{"a Hello that is too long", []byte{1, 0, 0, 2, 'H'},
		"length of 16777218, and at most 16777217 are allowed"},
	{"HTTP", []byte("HTTP/1.1 400 Bad Request"), "unknown type"},
	{"a field without a length", frameOf('F', 1), "body of Failed"},
	{"a field whose length does not end", frameOf('F', 1, 0x80), "body of Failed"},
	{"a field that is cut off", frameOf('F', 1, 3, 'a', 'b'), "body of Failed"},
	{"a field of any length",
		frameOf('F', 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), "body of Failed"},
	{"a number without digits", frameOf('D', 1, 0), "body of Drained"},
	{"a number that does not end", frameOf('D', 1, 1, 0x80), "body of Drained"},
	{"a number and more", frameOf('D', 1, 2, 2, 0), "body of Drained"},
	{"a duration of more than 300,000 years",
		frameOf('D', 1, 9, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"body of Drained"},
	{"a duration below zero", frameOf('H', 1, 1, 2, 5, 1, 1), "body of Hello"},
	{"a bad record", frameOf('H', 1, 1, 2, 6, 2, 4, 0), "body of Hello"},
	{"no version", frameOf('H'),
		"speaks version 0 of the handoff protocol, and this one version 1"},
	{"the next version", frameOf('H', 1, 1, 4),
		"speaks version 2 of the handoff protocol, and this one version 1"},
}

func TestBadFrames(t *testing.T) {
	for _, tt := range badFrames {
		m, err := parseFrame(tt.frame)
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %+v, %v; want ErrProtocol that says %q", tt.what, m, err, tt.says)
		}
	}
}

// parseFrame reads the frame at the start of b.
func parseFrame(b []byte) (Message, error) {
	n, err := frameLen(b)
	if err != nil {
		return nil, err
	}
	return decode(b[:min(n, len(b))])
}

func TestEncodeRefusesLongMessages(t *testing.T) {
	long := strings.Repeat("x", maxMessage)
	huge := hello()
	for range 20_000 {
		huge.Sockets = append(huge.Sockets,
			fds.Record{Name: "n", Network: "unix", Address: strings.Repeat("x", 1000)})
	}
	for _, m := range []Message{
		&Failed{Reason: long}, &Abort{Reason: long}, &Leave{Reason: long}, huge,
	} {
		frame, err := encode(m)
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), Name(m)) {
			t.Errorf("%s: got %d bytes, %v; want ErrProtocol", Name(m), len(frame), err)
		}
	}
}

// The reason of a failure must reach the other side, whatever its bytes.
func TestReasonFitsIntoMessage(t *testing.T) {
	for _, unit := range []string{"x", "<", "\"", "\x00", "\xff", "世"} {
		for _, n := range []int{
			0, 1, maxReason - 1, maxReason, maxReason + 1, maxMessage, 1 << 20,
		} {
			reason := Reason(errors.New(strings.Repeat(unit, n)))
			if _, err := encode(&Failed{Reason: reason}); err != nil {
				t.Errorf("%d times %q: %v", n, unit, err)
			}
			if n > 0 && !strings.HasPrefix(reason, unit) {
				t.Errorf("%d times %q: the reason is %.20q", n, unit, reason)
			}
		}
	}
	if got := Reason(errors.New("short")); got != "short" {
		t.Errorf("a short reason became %q", got)
	}
}

// The answers to as many offers as one message may have fit into one too, whatever their reasons.
func TestAnswersFitIntoMessage(t *testing.T) {
	m := &Answers{}
	for range MaxOffers {
		m.Answers = append(m.Answers, Refusal(errors.New(strings.Repeat("x", maxMessage))))
	}
	if _, err := encode(m); err != nil {
		t.Error(err)
	}
	if a := Refusal(errors.New("full")); a != (Answer{Reason: "full"}) {
		t.Errorf("a short reason became %+v", a)
	}
}

func TestName(t *testing.T) {
	for want, m := range map[string]Message{"Hello": &Hello{}, "Drained": &Drained{}} {
		if got := Name(m); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		frame, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	for _, tt := range badFrames {
		f.Add(tt.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerLen {
			return
		}
		m, err := parseFrame(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v does not match ErrProtocol", err)
			}
			return
		}
		frame, err := encode(m) // a decoded message can be encoded
		if err != nil {
			t.Fatalf("%+v cannot be encoded again: %v", m, err)
		}
		if again, err := decode(frame); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(1, 2, "4F2K", int64(60_000_000), "http", "tcp", ":80", 0, true, uint8(3))
	f.Add(-1, 1<<31-1, "", int64(1), "\xff", "unix", "/run/\x00", -7, false, uint8(0))
	f.Fuzz(func(
		t *testing.T, pid, generation int, handoff string, micros int64,
		name, network, address string, ordinal int, given bool, n uint8,
	) {
		want := &Hello{
			Version: Version, PID: pid, Generation: generation, Handoff: handoff,
			Timeout: time.Duration(micros&(1<<40-1)) * time.Microsecond,
		}
		for i := range int(n) {
			want.Sockets = append(want.Sockets, fds.Record{
				Name: name, Network: network, Address: address,
				Ordinal: ordinal + i, Given: given, File: handoff,
			})
		}
		frame, err := encode(want)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v does not match ErrProtocol", err)
			}
			return
		}
		if got, err := parseFrame(frame); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

// A first generation may have had no variables at all.
func TestEmptyEnvironmentTravels(t *testing.T) {
	for _, environ := range [][]string{nil, {}} {
		frame, err := encode(&Hello{Version: Version, Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		m, err := decode(frame)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.(*Hello).Environ; (got == nil) != (environ == nil) || len(got) > 0 {
			t.Errorf("%#v became %#v", environ, got)
		}
	}
}
