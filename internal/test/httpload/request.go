package httpload

import (
	"fmt"
	"strings"
)

// request is what a client asks, in whichever way it is sent, and the right answer.
type request struct {
	kind   kind
	id     string
	method string
	path   string
	fields [][2]string
	body   string
	want   answer // without the interim ones
}

// compose makes the nth request of a client.
func (k kind) compose(c Config, id string, n int) request {
	r := request{
		kind: k, id: id, method: "GET", path: echoPath, fields: [][2]string{{idHeader, id}},
	}
	if len(k.methods) > 0 {
		r.method = k.methods[n%len(k.methods)]
	}
	if k.path != "" {
		r.path = k.path
	}
	if len(k.sizes) > 0 {
		size := k.sizes[n%len(k.sizes)]
		r.body = strings.Repeat(id+" ", size/(len(id)+1)+1)[:size]
	}
	r.fields = append(r.fields, k.wishes(c)...)
	r.want = answer{head: firstLine(r.method, id)}
	switch {
	case r.path == everything:
		r.want = answer{}
	case r.path == echoPath, r.path == proxyPath:
		r.want.head += r.body
		if k.trailed() {
			r.want.head += trailerOf(r.body)
		}
	case r.path == filePath:
		r.want.block, r.want.blocks = fileBlock, fileBlocks
	case k.blocks != nil:
		r.want.block, r.want.blocks = blockOf(id+"\n"), k.blocks(c)
		r.fields = append(r.fields, [2]string{blocksHeader, fmt.Sprint(r.want.blocks)})
	}
	return r
}

// wishes are header fields that tell the Handler how to answer.
func (k kind) wishes(c Config) (fields [][2]string) {
	if k.wait != nil {
		fields = append(fields, [2]string{waitHeader, k.wait(c).String()})
	}
	if k.heeds {
		fields = append(fields, [2]string{heedHeader, "yes"})
	}
	if k.says != "" {
		fields = append(fields, [2]string{saysHeader, k.says})
	}
	for _, code := range k.interim {
		fields = append(fields, [2]string{interimHeader, fmt.Sprint(code)})
	}
	return fields
}

// handled reports whether the Handler sees the request.
func (r request) handled() bool { return r.path != everything }

// trailed reports whether there is a trailer, and so no length.
func (k kind) trailed() bool { return strings.Contains(k.header, "Trailer: ") }

// pieces are those in which it is sent.
func (r request) pieces() []string {
	version := "1.1"
	if r.kind.version != "" {
		version = r.kind.version
	}
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/%s\r\nHost: httpload\r\n%s",
		r.method, r.path, version, r.kind.header)
	for _, f := range r.fields {
		head.WriteString(f[0] + ": " + f[1] + "\r\n")
	}
	if r.body != "" && !r.kind.trailed() {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(r.body))
	}
	head.WriteString("\r\n")
	return r.kind.pieces(head.String(), r.body)
}
