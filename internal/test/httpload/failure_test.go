package httpload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The tests of this file prove that "0 failed" means something.

// badServer lets a script serve each connection, in a way of its own.
func badServer(t *testing.T, script func(*badConn)) Target {
	t.Helper()
	return listen(t, "tcp", "127.0.0.1:0", nil, func(ln net.Listener) error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			go func() { // ends with the connection
				defer c.Close()
				script(&badConn{Conn: c, in: bufio.NewReader(c)})
			}()
		}
	})
}

type badConn struct {
	net.Conn
	in *bufio.Reader
}

// read takes a request, and returns its id, which is "" at the end of the connection.
func (c *badConn) read() (id string) {
	r, err := http.ReadRequest(c.in)
	if err != nil {
		return ""
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return r.Header.Get(idHeader)
}

func (c *badConn) write(text ...string) { _, _ = io.WriteString(c, strings.Join(text, "")) }

// right is the right answer to a GET.
func right(id string, header ...string) string { return with(firstLine("GET", id), id, header...) }

// with is an answer to a GET with a body.
func with(body, id string, header ...string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nX-Method: GET\r\nContent-Length: %d\r\n%s\r\n%s", id, len(body), strings.Join(header, ""), body)
}

func processing(header string) string { return "HTTP/1.1 102 Processing\r\n" + header + "\r\n" }
func hints(header string) string      { return "HTTP/1.1 103 Early Hints\r\n" + header + "\r\n" }

// talk begins a talk, in which it says nothing else.
func talk(lines string) func(*badConn) {
	return func(c *badConn) {
		id := c.read()
		c.write("HTTP/1.1 101 Switching Protocols\r\n", upgradeTalk, idHeader, ": ", id, "\r\n\r\n")
		_, _ = c.in.ReadString('\n')
		c.write(lines)
	}
}

// each answers each request.
func each(answer func(id string) string) func(*badConn) {
	return func(c *badConn) {
		for id := c.read(); id != ""; id = c.read() {
			c.write(answer(id))
		}
	}
}

// changed has something else in each right answer.
func changed(old, new string) func(*badConn) {
	return each(func(id string) string { return strings.Replace(right(id), old, new, 1) })
}

func TestWhatIsNotTheRightAnswerIsAFailure(t *testing.T) {
	for name, test := range map[string]struct {
		kind   string
		script func(*badConn)
		want   string
	}{
		"none":                  {"keep-alive", func(c *badConn) { c.read() }, "unexpected EOF"},
		"reset":                 {"keep-alive", func(c *badConn) { c.read(); _ = c.Conn.(*net.TCPConn).SetLinger(0) }, "connection reset"},
		"silence":               {"keep-alive", func(c *badConn) { c.read(); c.read() }, "i/o timeout"},
		"garbage":               {"keep-alive", each(func(string) string { return "SSH-2.0\r\n" }), "malformed HTTP"},
		"status":                {"keep-alive", changed("200", "503"), `status 503 OK: "GET keep-alive`},
		"no id":                 {"keep-alive", changed("X-Id", "X-No"), `has the id ""`},
		"method":                {"keep-alive", changed("X-Method: GET", "X-Method: PUT"), `the method "PUT"`},
		"another":               {"keep-alive", each(func(id string) string { return right(id + "0") }), "it is the answer to"},
		"body":                  {"keep-alive", changed("\r\n\r\nGET", "\r\n\r\nGIT"), "not the expected one within"},
		"longer":                {"keep-alive", each(func(id string) string { return with(firstLine("GET", id)+"x", id) }), "not the expected one within"},
		"shorter":               {"keep-alive", each(func(id string) string { return with("GET ", id) }), "are missing"},
		"truncated":             {"keep-alive", func(c *badConn) { a := right(c.read()); c.write(a[:len(a)-1]) }, "unexpected EOF"},
		"doubled":               {"keep-alive", each(func(id string) string { return right(id) + right(id) }), "bytes came after the answer"},
		"closed without a word": {"keep-alive", func(c *badConn) { c.write(right(c.read())) }, "EOF|connection reset|broken pipe"},

		"doubled last one": {"fresh", func(c *badConn) {
			id := c.read()
			c.write(right(id, closing))
			time.Sleep(10 * time.Millisecond) // in a segment of its own, or with the other
			c.write(right(id))
		}, "came after the answer|came after the last answer"},
		"no end": {"fresh", func(c *badConn) { c.write(right(c.read(), closing)); c.read() }, "does not end"},

		"swapped":                  {"pipelined", func(c *badConn) { first, second := c.read(), c.read(); c.write(right(second), right(first)) }, "it is the answer to"},
		"half of a pair":           {"pipelined", func(c *badConn) { c.write(right(c.read())) }, "EOF|connection reset"},
		"processed after the last": {"pipelined", func(c *badConn) { c.write(right(c.read(), closing), right(c.read())) }, "more came after the last answer"},
		"first bytes lost": {"ahead-3", func(c *badConn) {
			c.write(right(c.read()))
			_, _ = c.in.Discard(3)
			c.read()
			c.write("HTTP/1.1 400 Bad Request\r\n\r\n")
		}, "status 400"},

		"answer before the body": {"expect", func(c *badConn) { _, _ = http.ReadRequest(c.in); c.write(right("")) }, "not that the server expects"},
		"interim that closes": {"interim", func(c *badConn) {
			id := c.read()
			c.write(processing(closing), hints(""), right(id))
		}, `the interim answer 102 has the Connection header ["close"]`},
		"interim that does not close": {"interim", func(c *badConn) {
			id := c.read()
			c.write(processing(""), hints(keepAlive), right(id))
		}, `the interim answer 103 has the Connection header ["keep-alive"]`},
		"no interim": {
			"interim", each(func(id string) string { return right(id) }), "are [], not [102 103]",
		},
		"interim not asked for": {
			"keep-alive", each(func(id string) string { return hints("") + right(id) }),
			"are [103], not []",
		},
		"interim alone": {"interim", func(c *badConn) {
			c.read()
			c.write(processing(""), hints(""))
		}, "unexpected EOF"},
		"continue that closes": {"proxied-expect", func(c *badConn) {
			_, _ = http.ReadRequest(c.in)
			c.write("HTTP/1.1 100 Continue\r\n", closing, "\r\n")
			c.read()
		}, `the interim answer 100 has the Connection header ["close"]`},
		"options that are handled": {
			"options", each(func(id string) string { return right(id) }), "the method \"GET\"",
		},
		"body without end": {"pipelined-large", func(c *badConn) {
			text := right(c.read(), "X-Pad: "+strings.Repeat("x", 100), "\r\n")
			c.write(strings.Replace(text, "Content-Length: ", "Content-Length: 999", 1))
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
		}, "EOF|connection reset"},
		"no answer to what is refused": {"post-refused", func(c *badConn) {
			_, _ = http.ReadRequest(c.in)
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
		}, "EOF|connection reset"},
		"no talk": {
			"hijacked", each(func(id string) string { return right(id) }), "and not another",
		},
		"talk cut":      {"hijacked", talk(""), "unexpected EOF"},
		"goodbye alone": {"hijacked", talk(goodbye), "EOF|connection reset|broken pipe"},
		"goodbye twice": {
			"hijacked", talk(goodbye + goodbye), `the server repeats "goodbye\n"`,
		},
		"talk with another": {"hijacked", talk("hello\n"), `the server repeats "hello\n"`},

		"HTTP/1 in place of 2":        {"http2", each(func(id string) string { return right(id) }), "http2"},
		"go-post sends nothing again": {"go-post", onceOnly, "EOF|connection reset|broken pipe|server closed idle"},
	} {
		t.Run(name, func(t *testing.T) {
			patience := patience
			if name == "silence" || name == "no end" {
				patience = 50 * time.Millisecond
			}
			load := start(t, Config{Targets: []Target{badServer(t, test.script)}, Kinds: []string{test.kind}, Patience: patience})
			until(t, "a failure", func() bool { return load.Result().Failed > 0 })
			got := errors.Join(load.Stop().Failures...).Error()
			for want := range strings.SplitSeq(test.want, "|") {
				if strings.Contains(got, want) {
					return
				}
			}
			t.Errorf("instead of %s: %s", test.want, got)
		})
	}
}

// In HTTP/2 too, an interim answer with a Connection header is a failure, and so is a missing one.
func TestInterimOfHTTP2(t *testing.T) {
	for want, change := range map[string]func(http.ResponseWriter, *http.Request){
		`the interim answer 102 has the Connection header ["close"]`: func(
			w http.ResponseWriter, _ *http.Request,
		) {
			w.Header().Set("Connection", "close")
		},
		"the interim answers are [102], not [102 103]": func(
			_ http.ResponseWriter, r *http.Request,
		) {
			r.Header.Set(interimHeader, "102")
		},
	} {
		h := &Handler{}
		_, targets := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == echoPath {
				change(w, r)
			}
			h.ServeHTTP(w, r)
		}))
		load := start(t, Config{Targets: targets, Kinds: []string{"http2-interim"}})
		until(t, "a failure", func() bool { return load.Result().Failed > 0 })
		if got := errors.Join(load.Stop().Failures...).Error(); !strings.Contains(got, want) {
			t.Errorf("instead of %s: %s", want, got)
		}
	}
}

// onceOnly answers the first POST of each connection, and does not the second one.
func onceOnly(c *badConn) {
	r, err := http.ReadRequest(c.in)
	if err != nil {
		return
	}
	body, _ := io.ReadAll(r.Body)
	id := r.Header.Get(idHeader)
	c.write(strings.Replace(with(firstLine("POST", id)+string(body), id), "X-Method: GET", "X-Method: POST", 1))
	c.read()
}

func TestRefusedConnectionIsAFailure(t *testing.T) {
	target := badServer(t, func(*badConn) {})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target.Addr = ln.Addr().String()
	_ = ln.Close()
	load := start(t, Config{Targets: []Target{target}, Kinds: []string{"fresh", "go-get", "http2"}})
	until(t, "a failure of each kind", func() bool {
		for _, seen := range load.Result().Kinds {
			if seen.Failed == 0 {
				return false
			}
		}
		return true
	})
	if r := load.Stop(); r.Dials > 0 || len(r.Failures) > fewFailures || r.Failed != r.Requests {
		t.Errorf("%d connections, %d of %d requests have failed, of which %d are told", r.Dials, r.Failed, r.Requests, len(r.Failures))
	}
}

// What is processed twice has one answer, and is found out by the count of the Handler: the client of package http has sent it again.
func TestWhatGoGetSendsAgainIsCounted(t *testing.T) {
	h := &Handler{}
	_, targets := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if h.Handled()%3 == 0 {
			panic(http.ErrAbortHandler)
		}
	}))
	load := start(t, Config{Targets: targets[:1], Kinds: []string{"go-get"}})
	until(t, "some requests", func() bool { return load.Result().Requests > 20 })
	if r := load.Stop(); r.Failed > 0 || h.Handled() <= int64(r.Requests) {
		t.Errorf("%d of %d requests have failed, %d were handled: %v", r.Failed, r.Requests, h.Handled(), r.Failures)
	}
}

// A request that the server has refused to process is sent again, once, and is no failure.
func TestNotProcessedIsNotLost(t *testing.T) {
	for _, kind := range []string{"pipelined", "ahead-1", "ahead-line"} {
		load := start(t, Config{Targets: []Target{badServer(t, func(c *badConn) { c.write(right(c.read(), closing)) })}, Kinds: []string{kind}})
		until(t, "some requests", func() bool { return load.Result().Requests > 20 })
		if r := load.Stop(); r.Failed > 0 || 2*r.Resent != r.Requests || r.Dials != r.Requests || r.Reconnects != (Reconnects{HTTP1: r.Dials - 1}) {
			t.Errorf("%s: %d requests, %d failed, %d connections, %d sent again, %+v: %v", kind, r.Requests, r.Failed, r.Dials, r.Resent, r.Reconnects, r.Failures)
		}
	}
}

// GOAWAY has clients of HTTP/2 open another connection, and no request fails. All connections are counted by what is spoken on them.
func TestReconnects(t *testing.T) {
	h := &Handler{}
	_, targets := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.Handled()%5 == 0 {
			w.Header().Set("Connection", "close") // in HTTP/2, package http sends GOAWAY
		}
		h.ServeHTTP(w, r)
	}))
	load := start(t, Config{Targets: targets, Kinds: []string{"fresh", "http10-keep-alive", "closed-loop", "go-post", "http2"}})
	until(t, "reconnects of each kind", func() bool {
		r := load.Result().Reconnects
		return r.HTTP1 > 5 && r.TLS > 5 && r.HTTP2 > 5
	})
	r := load.Stop()
	if r.Failed > 0 || h.Handled() != int64(r.Requests) {
		t.Errorf("%d requests, %d failed, %d handled: %v", r.Requests, r.Failed, h.Handled(), r.Failures)
	}
	if n := r.Kinds["fresh"].Reconnects; n != (Reconnects{}) {
		t.Errorf("%+v of those that do not keep connections", n)
	}
}
