package httpload

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const longIdle = "long-idle"

// kind is a way in which clients use a connection.
type kind struct {
	// What they ask.
	methods []string         // in turn; GET if there are none
	path    string           // /echo if it is ""
	header  string           // lines of their own
	version string           // of HTTP, if it is not 1.1
	sizes   []int            // of the bodies, in turn; there is no body if there are none
	slow    bool             // the Handler takes its time
	blocks  func(Config) int // that are in the answer

	// How they send it.
	cut    func(head, body string) []string // in pieces
	expect bool                             // the server to say something before the second one
	late   bool                             // some time passes before the first byte
	ahead  func(wire string) int            // bytes of another request, sent with each second one
	pause  func(Config) time.Duration       // between requests

	// Who does it, if it is not us.
	agent *agent
}

// agent is a client of package http.
type agent struct {
	http2 bool
	once  bool     // nothing is sent twice
	asks  []string // what other kinds ask, in turn
}

var kinds = map[string]kind{
	// Connections that are not kept.
	"fresh":  {header: closing},
	"http10": {version: "1.0"},
	"late":   {header: closing, late: true},

	// Connections that are. A client without a pause writes at the very moment at which the server
	// begins to wait.
	"closed-loop":       {pause: func(Config) time.Duration { return 0 }},
	"keep-alive":        {},
	"idle":              {pause: func(c Config) time.Duration { return c.Idle }},
	longIdle:            {pause: func(c Config) time.Duration { return c.LongIdle }},
	"http10-keep-alive": {version: "1.0", header: "Connection: keep-alive\r\n"},
	"head":              {methods: []string{"HEAD"}},
	"put-delete":        {methods: []string{"PUT", "DELETE"}, sizes: []int{100}},

	// Bodies. What is larger than the server's buffer is read in another way.
	"post":        {methods: post, sizes: []int{1, 500, 5000}},
	"post-pieces": {methods: post, sizes: []int{500, 10_000}, cut: bodyInPieces},
	"post-unread": {methods: post, sizes: []int{500, 20_000}, path: unreadPath},
	// As some clients did, see RFC 9112, section 2.2. Not always: what is a part of the next
	// request keeps the connection from being idle.
	"post-crlf": {methods: []string{"POST", "GET"}, sizes: []int{500, 0}, cut: emptyLineAfter},
	"expect": {
		methods: post, sizes: []int{500, 5000}, header: "Expect: 100-continue\r\n",
		cut: headFirst, expect: true,
	},
	"chunked": {
		methods: post, sizes: []int{500, 5000},
		header: "Transfer-Encoding: chunked\r\nTrailer: " + trailer + "\r\n", cut: chunks,
	},

	// Boundaries between requests, and within them, at which servers do not expect any.
	"trickle":    {cut: headInBytes},
	"pipelined":  {ahead: func(wire string) int { return len(wire) }},
	"ahead-1":    {ahead: bytesAhead(1)},
	"ahead-3":    {ahead: bytesAhead(3)},
	"ahead-4":    {ahead: bytesAhead(4)},
	"ahead-line": {ahead: func(wire string) int { return strings.Index(wire, "\n") + 1 }},

	// Answers that take time.
	"slow":   {slow: true},
	"stream": {path: streamPath, blocks: func(c Config) int { return int(c.Stream / streamTick) }},
	"large":  {path: largePath, blocks: func(Config) int { return 300 }},
	"file":   {path: filePath},

	"go-get":  {agent: &agent{asks: []string{"keep-alive"}}},
	"go-post": {agent: &agent{asks: []string{"post"}, once: true}},
	"http2": {agent: &agent{
		asks:  []string{"keep-alive", "post", "slow", "head", "large", "post-unread"},
		http2: true,
	}},
	// Clients that do not send again what was refused.
	"http2-once": {agent: &agent{asks: []string{"keep-alive", "post"}, http2: true, once: true}},
}

const closing = "Connection: close\r\n"

var post = []string{"POST"}

// keeps reports whether clients would use a connection again.
func (k kind) keeps() bool {
	return !strings.Contains(k.header, closing) &&
		(k.version == "" || strings.Contains(k.header, "keep-alive"))
}

// leisurely reports whether requests take longer than they have to.
func (k kind) leisurely() bool {
	return k.slow || k.late || k.cut != nil || k.blocks != nil || k.path == filePath
}

// rest is how long a client waits between two requests.
func (k kind) rest(c Config) time.Duration {
	if k.pause == nil {
		return c.Pause
	}
	return k.pause(c)
}

func bytesAhead(n int) func(string) int { return func(string) int { return n } }

// pieces are those in which a request is sent.
func (k kind) pieces(head, body string) []string {
	if k.cut == nil {
		return []string{head + body}
	}
	return k.cut(head, body)
}

func headFirst(head, body string) []string   { return []string{head, body} }
func headInBytes(head, body string) []string { return append(strings.Split(head, ""), body) }

// emptyLineAfter follows a body, if there is one.
func emptyLineAfter(head, body string) []string {
	if body != "" {
		body += "\r\n"
	}
	return []string{head + body}
}

func bodyInPieces(head, body string) []string {
	fifth := len(body) / 5
	pieces := []string{head}
	for i := range 4 {
		pieces = append(pieces, body[i*fifth:(i+1)*fifth])
	}
	return append(pieces, body[4*fifth:])
}

// chunks has a body in chunks, and the trailer.
func chunks(head, body string) []string {
	var coded []string
	for _, piece := range bodyInPieces("", body)[1:] {
		coded = append(coded, fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
	}
	last := "0\r\n" + trailer + ": " + trailerOf(body) + "\r\n\r\n"
	return slices.Concat([]string{head}, coded, []string{last})
}

func trailerOf(body string) string { return fmt.Sprint("after ", len(body)) }
