package handoff

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/go-grace/grace/internal/fds"
)

// A Hello is refused by its first value that cannot be right, and the error names the limit.
func TestCheckHello(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for want, change := range map[string]func(*Hello){
		"":                      func(m *Hello) { m.Sockets[0].Given, m.Sockets[0].Name = true, "wéb" },
		"PID 0 ":                func(m *Hello) { m.PID = 0 },
		"PID -1 ":               func(m *Hello) { m.PID = -1 },
		"1 to 1073741824":       func(m *Hello) { m.PID = math.MaxInt32 },
		"generation 0 ":         func(m *Hello) { m.Generation = 1 },
		"generation 1073741825": func(m *Hello) { m.Generation = 1<<30 + 2 },
		"more than 64 bytes":    func(m *Hello) { m.Handoff = long },
		`"\x1b[2J`:              func(m *Hello) { m.Handoff = "\x1b[2J" },
		"character '\\n'":       func(m *Hello) { m.Sockets[1].Name = "a\nb" },
		"more than 255":         func(m *Hello) { m.Sockets[1].Name = long },
		"0 to 1073741824":       func(m *Hello) { m.Sockets[1].Ordinal = -1 },
		"address 5000":          func(m *Hello) { m.Sockets[1].Address = long },
		"network has 5000":      func(m *Hello) { m.Sockets[1].Network = long },
		"identity 5000":         func(m *Hello) { m.Sockets[1].File = long },
		"descriptor 0 after the link: " + ErrProtocol.Error() + ": the PID -7": func(m *Hello) {
			m.Extras = []ExtraFile{{Use: UseProcess, PID: -7, Generation: 1}}
		},
		"the generation -1 of an older": func(m *Hello) {
			m.Extras = []ExtraFile{{Use: UseTransfers, Generation: -1}}
		},
	} {
		m := &Hello{
			PID: 12, Generation: 2, Handoff: "4F2K",
			Sockets: []fds.Record{{}, {Name: "http", Network: "tcp", Address: ":80"}},
		}
		change(m)
		err := m.Check()
		if want == "" && err != nil {
			t.Errorf("a sound one: %v", err)
		} else if want != "" && (!errors.Is(err, ErrProtocol) ||
			!strings.Contains(err.Error(), want)) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
}

// A list has no more elements than it can have, however few bytes one takes.
func TestLongLists(t *testing.T) {
	for _, c := range []struct {
		kind kind
		tag  byte
		most int
		says string
	}{
		{kindHello, 6, MaxSockets, "more than the 131072 sockets"},
		{kindHello, 8, MaxExtras, "more than the 65536 extra files"},
		{kindHello, 10, MaxEnviron, "more than the 131072 variables"},
		{kindCommit, 1, MaxGenerations, "more than the 4096 older generations"},
		{kindDrained, 3, MaxSockets, "more than the 131072 sockets"},
		{kindOffers, 1, MaxOffers, "more than the 32 offers"},
		{kindAnswers, 1, MaxOffers, "more than the 32 answers"},
	} {
		elements := strings.Repeat(string([]byte{c.tag, 0}), c.most)
		if c.kind == kindHello {
			elements += "\x01\x01\x02"
		}
		if m, err := parseFrame(frameOf(c.kind, []byte(elements)...)); err != nil {
			t.Errorf("%T with %d: %v", m, c.most, err)
		}
		elements += string([]byte{c.tag, 0})
		m, err := parseFrame(frameOf(c.kind, []byte(elements)...))
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%T with one more: %v; want %q", m, err, c.says)
		}
	}
}

// A duration that somebody means as forever arrives as one with which one can still count.
func TestDurationsAreBounded(t *testing.T) {
	frame, err := encode(&Hello{Version: Version, Drain: math.MaxInt64, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	hello := m.(*Hello)
	if hello.Drain != MaxDuration || hello.Timeout != time.Second || hello.Drain+time.Hour < 0 {
		t.Errorf("got %v and %v", hello.Drain, hello.Timeout)
	}
	for _, micros := range []int64{MaxDuration.Microseconds() + 1, -1} {
		e := &encoder{}
		e.int64(1, micros)
		_, err := parseFrame(frameOf(kindAccept, e.buf...))
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), MaxDuration.String()) {
			t.Errorf("%d microseconds: %v", micros, err)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		`listen tcp: "port" 世界`:           `listen tcp: "port" 世界`,
		"first\nsecond":                   "first; second",
		"\x1b[2J\x00\r\t\u202e\u2028\xff": `\x1b[2J\x00\r\t\u202e\u2028\xff`,
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := Printable(strings.Repeat("x", 16<<20)); len(got) != maxReason+len("...") {
		t.Errorf("a long text has %d bytes", len(got))
	}
}

func FuzzPrintable(f *testing.F) {
	for _, text := range []string{"", "a\nb", "\x1b]0;title\a", "\xff\xfe", "\u2028", "世"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Printable(text)
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			len(got) > 10*(maxReason+3) {
			t.Errorf("%q became %q", text, got)
		}
		if again := Printable(got); len(got) <= maxReason && again != got {
			t.Errorf("%q became %q", got, again)
		}
	})
}
