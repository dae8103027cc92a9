package httpload

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The clients write what their kinds say.
func TestPieces(t *testing.T) {
	const (
		id  = "X-Id: id\r\n"
		get = "GET /echo HTTP/1.1\r\nHost: httpload\r\n"
	)
	for name, want := range map[string][]string{
		"fresh":             {"GET /echo HTTP/1.1\r\nHost: httpload\r\nConnection: close\r\n" + id + "\r\n"},
		"http10":            {"GET /echo HTTP/1.0\r\nHost: httpload\r\n" + id + "\r\n"},
		"http10-keep-alive": {"GET /echo HTTP/1.0\r\nHost: httpload\r\nConnection: keep-alive\r\n" + id + "\r\n"},
		"post":              {"POST /echo HTTP/1.1\r\nHost: httpload\r\n" + id + "Content-Length: 1\r\n\r\ni"},
		"post-crlf":         {"POST /echo HTTP/1.1\r\nHost: httpload\r\n" + id + "Content-Length: 500\r\n\r\n" + body(500) + "\r\n"},
		"post-unread":       {"POST /unread HTTP/1.1\r\nHost: httpload\r\n" + id + "Content-Length: 500\r\n\r\n" + body(500)},
		"expect":            {"POST /echo HTTP/1.1\r\nHost: httpload\r\nExpect: 100-continue\r\n" + id + "Content-Length: 500\r\n\r\n", body(500)},
		"slow":              {"GET /echo HTTP/1.1\r\nHost: httpload\r\n" + id + "X-Wait: 20ms\r\n\r\n"},
		"long-poll":         {get + id + "X-Wait: 500ms\r\n\r\n"},
		"long-poll-drained": {get + id + "X-Wait: 2s\r\nX-Heed: yes\r\n\r\n"},
		"says-keep-alive":   {get + id + "X-Says: keep-alive\r\n\r\n"},
		"interim":           {get + id + "X-Interim: 102\r\nX-Interim: 103\r\n\r\n"},
		"upgrade-h2c":       {get + upgradeH2C + id + "\r\n"},
		"options":           {"OPTIONS * HTTP/1.1\r\nHost: httpload\r\n" + id + "\r\n"},
		"events-drained": {
			"GET /sent-events HTTP/1.1\r\nHost: httpload\r\n" + id +
				"X-Heed: yes\r\nX-Says: keep-alive\r\nX-Blocks: 80\r\n\r\n",
		},
		"hijacked": {
			"GET /talk HTTP/1.1\r\nHost: httpload\r\n" +
				"Connection: Upgrade\r\nUpgrade: httpload\r\n" + id + "\r\n",
		},
		"proxied-expect": {
			"POST /proxy HTTP/1.1\r\nHost: httpload\r\nExpect: 100-continue\r\n" + id +
				"X-Interim: 103\r\nContent-Length: 500\r\n\r\n",
			body(500),
		},
		"stream": {"GET /stream HTTP/1.1\r\nHost: httpload\r\n" + id + "X-Blocks: 20\r\n\r\n"},
		"post-pieces": append([]string{"POST /echo HTTP/1.1\r\nHost: httpload\r\n" + id + "Content-Length: 500\r\n\r\n"},
			body(500)[:100], body(500)[100:200], body(500)[200:300], body(500)[300:400], body(500)[400:]),
		"chunked": {
			"POST /echo HTTP/1.1\r\nHost: httpload\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n" + id + "\r\n",
			"64\r\n" + body(500)[:100] + "\r\n", "64\r\n" + body(500)[100:200] + "\r\n", "64\r\n" + body(500)[200:300] + "\r\n",
			"64\r\n" + body(500)[300:400] + "\r\n", "64\r\n" + body(500)[400:] + "\r\n", "0\r\nX-Check: after 500\r\n\r\n",
		},
	} {
		c, err := Config{Targets: []Target{{}}}.complete()
		if err != nil {
			t.Fatal(err)
		}
		if got := kinds[name].compose(c, "id", 0).pieces(); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	trickle := kinds["trickle"].compose(Config{}, "id", 0).pieces()
	if strings.Join(trickle, "") != "GET /echo HTTP/1.1\r\nHost: httpload\r\n"+id+"\r\n" || len(trickle[0]) != 1 {
		t.Errorf("%q", trickle)
	}
}

func body(size int) string { return strings.Repeat("id ", size)[:size] }

func TestPauses(t *testing.T) {
	for of, want := range map[int]int{1: 0, 2: 1, 20: 19, 21: 19, 110: 19} {
		pauses := 0
		for piece := range of {
			if pausesBefore(piece, of) {
				pauses++
			}
		}
		if pauses != want {
			t.Errorf("%d pauses between %d pieces", pauses, of)
		}
	}
	c := Config{Pause: 1, Idle: 2, LongIdle: 3}
	for name, want := range map[string]time.Duration{"closed-loop": 0, "keep-alive": 1, "idle": 2, "long-idle": 3} {
		if got := kinds[name].rest(c); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The client of package http cannot rewind the bodies of go-post: else it would send some again. Those of HTTP/2 it has to, after GOAWAY.
func TestBodiesThatCanBeRewound(t *testing.T) {
	for name, want := range map[string]bool{"go-post": false, "http2": true} {
		c := newAgentClient(&identity{kind: kinds[name]})
		req, err := c.request(t.Context(), kinds["post"].compose(Config{}, "id", 1))
		if err != nil || req.ContentLength != 500 || (req.GetBody != nil) != want {
			t.Errorf("%s: a body of %d bytes can be rewound: %v, %v", name, req.ContentLength, req.GetBody != nil, err)
		}
		c.end()
	}
}

// What a client of a pair writes first.
func TestBytesAhead(t *testing.T) {
	wire := "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
	for name, want := range map[string]string{"ahead-1": "G", "ahead-3": "GET", "ahead-4": "GET ", "ahead-line": "GET / HTTP/1.1\r\n", "pipelined": wire} {
		if got := wire[:kinds[name].ahead(wire)]; got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// The second request of a pair can be sent apart from the first one, and in two pieces.
func TestBytesAheadApart(t *testing.T) {
	conn := &recorder{}
	c := &rawClient{identity: &identity{kind: kinds["pipelined-large"]}, conn: conn}
	if err := c.send(request{kind: c.kind, method: "GET", path: "/"}, "", "abcd"); err != nil {
		t.Fatal(err)
	}
	want := []string{"GET / HTTP/1.1\r\nHost: httpload\r\n\r\n", "ab", "cd"}
	if !slices.Equal(conn.written, want) {
		t.Errorf("%q was written", conn.written)
	}
}

// recorder remembers what is written to it.
type recorder struct {
	net.Conn
	written []string
}

func (r *recorder) Write(b []byte) (int, error) {
	r.written = append(r.written, string(b))
	return len(b), nil
}

// Who reads slowly misses nothing.
func TestSipper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sips = 5
		began, text := time.Now(), strings.Repeat("x", sips*sip+1)
		got, err := io.ReadAll(&sipper{Reader: strings.NewReader(text), pause: time.Second})
		took := time.Since(began)
		if err != nil || string(got) != text || took != sips*time.Second {
			t.Errorf("%d of %d bytes in %v: %v", len(got), len(text), took, err)
		}
	})
}
