package httpload

import (
	"fmt"
	"math/rand/v2"
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
	blocks  func(Config) int // that are in the answer
	says    string           // the Connection header that the Handler sets
	interim []int            // the codes of the answers that come before the final one

	wait  func(Config) time.Duration // before the Handler answers
	heeds bool                       // the Handler waits no longer once its server drains

	// How they send it.
	cut    func(head, body string) []string // in pieces
	expect bool                             // the server to say something before the second one
	late   bool                             // some time passes before the first byte
	ahead  func(wire string) int            // bytes of another request, sent with each second one
	apart  bool                             // they follow later, and the server leaves some unread
	sips   bool                             // the answer is read slowly
	deaf   bool                             // the body is sent even when the answer has come
	talks  bool                             // another protocol follows
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
	"http10-keep-alive": {version: "1.0", header: keepAlive},
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
	// The server does not read that much in vain, and closes the connection.
	"post-refused": {
		methods: post, sizes: []int{4 << 20}, path: unreadPath, cut: bodyInPieces, deaf: true,
		pause: seldom,
	},
	"chunked": {
		methods: post, sizes: []int{500, 5000},
		header: "Transfer-Encoding: chunked\r\nTrailer: " + trailer + "\r\n", cut: chunks,
	},

	// Interim answers, of the Handler and of a backend behind its proxy.
	"interim": {interim: []int{102, 103}, pause: often},
	"proxied": {path: proxyPath, interim: []int{103}, pause: often},
	"proxied-expect": {
		methods: post, sizes: []int{500, 5000}, header: "Expect: 100-continue\r\n",
		path: proxyPath, interim: []int{103}, cut: headFirst, expect: true, pause: often,
	},

	// Boundaries between requests, and within them, at which servers do not expect any.
	"trickle":    {cut: headInBytes},
	"pipelined":  {ahead: func(wire string) int { return len(wire) }},
	"ahead-1":    {ahead: bytesAhead(1)},
	"ahead-3":    {ahead: bytesAhead(3)},
	"ahead-4":    {ahead: bytesAhead(4)},
	"ahead-line": {ahead: func(wire string) int { return strings.Index(wire, "\n") + 1 }},
	// At the end of its connection, a part of the last answer is not yet sent.
	"pipelined-large": {
		path: largePath, blocks: func(Config) int { return 4 << 20 / 2000 },
		ahead: func(wire string) int { return len(wire) }, apart: true, sips: true, pause: seldom,
	},

	// Answers that take time.
	"slow":              {wait: func(c Config) time.Duration { return c.Slow }},
	"long-poll":         {wait: func(c Config) time.Duration { return c.Stream }},
	"long-poll-drained": {wait: func(c Config) time.Duration { return 4 * c.Stream }, heeds: true},
	"stream":            {path: streamPath, blocks: ticks(1)},
	"events":            {path: eventsPath, says: "keep-alive", blocks: ticks(1)},
	"events-drained":    {path: eventsPath, says: "keep-alive", blocks: ticks(4), heeds: true},
	"large":             {path: largePath, blocks: func(Config) int { return 300 }},
	"file":              {path: filePath},

	// Requests and answers with a Connection header of their own.
	"upgrade-h2c":            {header: upgradeH2C, pause: often}, // as the JDK's client by default
	"upgrade-websocket":      {header: upgradeWebSocket, pause: often},
	"says-keep-alive":        {says: "keep-alive", pause: often},
	"http10-says-keep-alive": {version: "1.0", header: keepAlive, says: "keep-alive", pause: often},
	"hijacked":               {path: talkPath, header: upgradeTalk, talks: true, pause: anyTime},
	"options":                {methods: []string{"OPTIONS"}, path: everything, pause: often},

	"go-get":  {agent: &agent{asks: []string{"keep-alive"}}},
	"go-post": {agent: &agent{asks: []string{"post"}, once: true}},
	"http2": {agent: &agent{
		asks:  []string{"keep-alive", "post", "slow", "head", "large", "post-unread"},
		http2: true,
	}},
	"http2-interim": {
		agent: &agent{asks: []string{"interim", "proxied"}, http2: true}, pause: often,
	},
	// Clients that do not send again what was refused.
	"http2-once": {agent: &agent{asks: []string{"keep-alive", "post"}, http2: true, once: true}},
	"http2-once-mixed": {
		agent: &agent{
			asks: []string{
				"keep-alive", "slow", "post", "long-poll", "says-keep-alive", "large",
				"events-drained",
			},
			http2: true, once: true,
		},
		pause: often,
	},
}

const (
	closing   = "Connection: close\r\n"
	keepAlive = "Connection: keep-alive\r\n"

	upgradeH2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" +
		"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
	upgradeWebSocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	upgradeTalk      = "Connection: Upgrade\r\nUpgrade: " + talkProtocol + "\r\n"
)

var post = []string{"POST"}

// keeps reports whether clients would use a connection again.
func (k kind) keeps() bool {
	return !strings.Contains(k.header, closing) && !k.deaf && !k.talks &&
		(k.version == "" || strings.Contains(k.header, "keep-alive"))
}

// leisurely reports whether requests take longer than they have to.
func (k kind) leisurely() bool {
	return k.wait != nil || k.late || k.cut != nil || k.blocks != nil || k.talks ||
		k.path == filePath
}

// rest is how long a client waits between two requests.
func (k kind) rest(c Config) time.Duration {
	if k.pause == nil {
		return c.Pause
	}
	return k.pause(c)
}

// often and seldom are the pauses of clients of which few requests are enough.
func often(c Config) time.Duration  { return 10 * c.Pause }
func seldom(c Config) time.Duration { return c.Idle }

// anyTime is for clients that should not do the same at the same time.
func anyTime(c Config) time.Duration { return rand.N(2 * c.Stream) }

// ticks returns the blocks of a stream that lasts n times as long as the Config says.
func ticks(n time.Duration) func(Config) int {
	return func(c Config) int { return int(n * c.Stream / streamTick) }
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
