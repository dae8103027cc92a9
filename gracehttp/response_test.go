package gracehttp

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

const (
	plainGet      = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
	expectingPost = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n" +
		"Content-Length: 1\r\n\r\nx"
)

// heads reads up to the final header. It returns the status of each header, and the values of
// Connection in it. Equal ones in a row count as one: a proxy may send 100 twice, as net/http does
// for the body, and again for that of the backend.
func (c *connection) heads() string {
	c.t.Helper()
	var heads []string
	for {
		text := textproto.NewReader(c.reader)
		status, err := text.ReadLine()
		if err == io.EOF {
			return strings.Join(append(heads, "the end"), ", ")
		}
		header, err2 := text.ReadMIMEHeader()
		if err != nil || err2 != nil {
			c.t.Fatalf("after %q: %q, %v, %v", heads, status, err, err2)
		}
		code := strings.Fields(status)[1]
		heads = append(heads, strings.Join(append([]string{code}, header["Connection"]...), " "))
		if code[0] != '1' || code == "101" {
			return strings.Join(slices.Compact(heads), ", ")
		}
	}
}

// hints sends an interim header.
func hints(w http.ResponseWriter, code int) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(code)
	w.Header().Del("Link")
}

func setsKeepAlive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "keep-alive")
	_, _ = io.WriteString(w, "hello")
}

// setsKeepAliveInLowerCase puts the header where Set would not find it.
func setsKeepAliveInLowerCase(w http.ResponseWriter, _ *http.Request) {
	w.Header()["connection"] = []string{"keep-alive"}
	_, _ = io.WriteString(w, "hello")
}

func setsCloseInHints(w http.ResponseWriter, _ *http.Request) {
	w.Header()["connection"] = []string{"close"}
	hints(w, http.StatusEarlyHints)
	delete(w.Header(), "connection")
	w.Header().Set("Connection", "close")
	_, _ = io.WriteString(w, "hello")
}

func setsKeepAliveInHints(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "keep-alive")
	hints(w, http.StatusEarlyHints)
	_, _ = io.WriteString(w, "hello")
}

// The final header in the drain says that the connection closes, exactly once, whatever the client
// has asked for and the handler has set. An interim header never does.
func TestLastResponseSaysClose(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		request string
		want    string
	}{
		"h2c is offered": {
			handler: site, want: "200 close",
			request: "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n" +
				"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
		},
		"keep-alive":               {handler: setsKeepAlive, want: "200 close"},
		"keep-alive in lower case": {handler: setsKeepAliveInLowerCase, want: "200 close"},
		"close":                    {handler: setsClose, want: "200 close"},
		"hints with close":         {handler: setsCloseInHints, want: "103, 200 close"},
		"102 and 103": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				hints(w, http.StatusProcessing)
				setsKeepAliveInHints(w, r)
			},
			want: "102, 103, 200 close",
		},
		"hints with keep-alive": {handler: setsKeepAliveInHints, want: "103, 200 close"},
		"100 by the handler": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusContinue)
				setsKeepAlive(w, r)
			},
			want: "100, 200 close",
		},
		"100 by net/http": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body)
				_, _ = io.WriteString(w, "hello")
			},
			request: expectingPost, want: "100, 200 close",
		},
		"nothing": {handler: func(http.ResponseWriter, *http.Request) {}, want: "200 close"},
		"only WriteHeader": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
			},
			want: "204 close",
		},
		"only Flush": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
			want:    "200 close",
		},
		"only FlushError": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).Flush()
			},
			want: "200 close",
		},
		"ReadFrom": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("hello"))
			},
			want: "200 close",
		},
		"WriteString": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.(io.StringWriter).WriteString("hello")
			},
			want: "200 close",
		},
		"Write": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte("hello"))
			},
			want: "200 close",
		},
		"unwrapped to the bottom": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(bottom(w), "hello")
			},
			want: "200 close",
		},
		"two headers": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				w.WriteHeader(http.StatusOK)
			},
			want: "418 close",
		},
		"HTTP/1.0": {
			handler: site, request: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			want: "200 close",
		},
		"HTTP/1.0 with keep-alive by the handler": {
			handler: setsKeepAlive, request: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			want: "200 close",
		},
		"HEAD": {
			handler: site, request: "HEAD / HTTP/1.1\r\nHost: test\r\n\r\n", want: "200 close",
		},
		"OPTIONS *": {
			handler: notAsked(t), request: "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
			want: "200 close",
		},
		"OPTIONS * with a body": {
			handler: notAsked(t), want: "200 close",
			request: "OPTIONS * HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody",
		},
		"a panic": {
			handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			want:    "the end",
		},
		"a panic after the header": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(w).Flush()
				panic("a fault")
			},
			want: "200 close",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.request == "" {
				c.request = plainGet
			}
			synctest.Test(t, func(t *testing.T) {
				srv := &http.Server{Handler: c.handler, ErrorLog: log.New(io.Discard, "", 0)}
				testLastResponse(t, srv, c.request, c.want)
			})
		})
	}
}

// bottom returns the ResponseWriter that all others wrap.
func bottom(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

// switchesAtTheBottom is switches for a handler that unwraps.
func switchesAtTheBottom(w http.ResponseWriter, r *http.Request) { switches(bottom(w), r) }

func setsClose(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "close")
	w.Header()["connection"] = []string{"close"}
	_, _ = io.WriteString(w, "hello")
}

// notAsked returns a handler that makes the test fail.
func notAsked(t *testing.T) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { t.Error("the handler is asked") }
}

// testLastResponse sends a request in the drain, on an idle connection. Its response has the wanted
// heads, and the connection ends.
func testLastResponse(t *testing.T, srv *http.Server, request, want string) {
	t.Helper()
	r := newRig(t, srv)
	c := r.connect()
	result := r.drain()
	synctest.Wait()
	go io.WriteString(c, request) //nolint:errcheck // the heads show it
	if got := c.heads(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := io.Copy(io.Discard, c.reader); err != nil {
		t.Errorf("the connection ends with %v", err)
	}
	_ = c.Close()
	(<-result).check(t, 0, 1, 1, 0)
}

// An owner who wants to answer OPTIONS * by itself is asked, in the drain too.
func TestOptionsForTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := false
		srv := &http.Server{
			DisableGeneralOptionsHandler: true,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Method == http.MethodOptions && r.RequestURI == "*"
				w.WriteHeader(http.StatusAccepted)
			}),
		}
		testLastResponse(t, srv, "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", "202 close")
		if !asked {
			t.Error("the handler is not asked")
		}
	})
}

// OPTIONS * is answered as by http.Server alone. Other paths and methods are for the handler.
func TestOptionsWithoutADrain(t *testing.T) {
	const tooMuch = 400_000 // bytes of a body, which end the connection
	teapot := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	})
	for request, want := range map[string]string{
		"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n":                          "200; 418",
		"OPTIONS * HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody": "200; 418",
		fmt.Sprintf("OPTIONS * HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", tooMuch) +
			strings.Repeat("x", tooMuch): "200 close; the end",
		"OPTIONS /* HTTP/1.1\r\nHost: test\r\n\r\n": "418; 418",
		"GET * HTTP/1.1\r\nHost: test\r\n\r\n":      "418; 418",
	} {
		for name, ours := range withAndWithoutUs {
			synctest.Test(t, func(t *testing.T) {
				ln := pipenet.Listen()
				serveOne(t, &http.Server{Handler: teapot}, ln, ours)
				c := (&rig{t: t, Listener: ln}).connect()
				defer c.Close()
				go io.WriteString(c, request+plainGet) //nolint:errcheck // the heads show it
				if got := c.heads() + "; " + c.heads(); got != want {
					t.Errorf("%s: %.70q: %q, want %q", name, request, got, want)
				}
				time.Sleep(time.Second) // net/http waits for half a second after a body not read
			})
		}
	}
}

// withAndWithoutUs are for tests that compare a server of this package with one of net/http.
var withAndWithoutUs = map[string]bool{"net/http": false, "gracehttp": true}

// backend returns a server behind a proxy, and a proxy that leads to it, in the time of a bubble.
// Both end with the test.
func backend(t *testing.T, handler http.HandlerFunc) http.Handler {
	t.Helper()
	ln := pipenet.Listen()
	serveOne(t, &http.Server{Handler: handler}, ln, false)
	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return ln.Dial()
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "backend"})
	proxy.Transport = transport
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	return proxy
}

// A proxy passes interim headers of its backend on, and a 100 that a client waits for. The final
// header alone says that the connection closes.
func TestLastResponseOfAProxy(t *testing.T) {
	for name, c := range map[string]struct{ request, want string }{
		"hints":        {plainGet, "103, 200 close"},
		"100-continue": {expectingPost, "100, 103, 200 close"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proxy := backend(t, func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadAll(r.Body)
					setsCloseInHints(w, r)
				})
				testLastResponse(t, &http.Server{Handler: proxy}, c.request, c.want)
			})
		})
	}
}

// echoLine echoes one line.
func echoLine(c net.Conn, r io.Reader) {
	defer c.Close()
	line := make([]byte, len("hello\n"))
	_, _ = io.ReadFull(r, line)
	_, _ = c.Write(line)
}

const upgradeRequest = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n" +
	"Upgrade: echo\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// hijacks writes the header of the 101 itself.
func hijacks(w http.ResponseWriter, _ *http.Request) {
	c, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, switching)
	echoLine(c, buffered)
}

// switches has net/http write it.
func switches(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "echo")
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	echoLine(c, buffered)
}

// A response that switches to another protocol keeps its own header in the drain, however it is
// written.
func TestSwitchingProtocolsInTheDrain(t *testing.T) {
	for name, handler := range map[string]func(*testing.T) http.Handler{
		"by Hijack":      func(*testing.T) http.Handler { return http.HandlerFunc(hijacks) },
		"by WriteHeader": func(*testing.T) http.Handler { return http.HandlerFunc(switches) },
		"unwrapped":      func(*testing.T) http.Handler { return http.HandlerFunc(switchesAtTheBottom) },
		"by a proxy":     func(t *testing.T) http.Handler { return backend(t, hijacks) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, &http.Server{Handler: handler(t)})
				c := r.connect()
				result := r.drain()
				synctest.Wait()
				c.send(upgradeRequest)
				if got := c.heads(); got != "101 Upgrade" {
					t.Errorf("got %q", got)
				}
				c.send("hello\n")
				if text, err := io.ReadAll(c.reader); string(text) != "hello\n" || err != nil {
					t.Errorf("the other protocol has %q, %v", text, err)
				}
				_ = c.Close()
				(<-result).check(t, 0, 1, 1, 0)
			})
		})
	}
}

// Interim headers have no Connection without a drain either. What the handler has set is in the
// final one.
func TestInterimHeadersWithoutADrain(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"close":      {setsCloseInHints, "103, 200 close"},
		"keep-alive": {setsKeepAliveInHints, "103, 200 keep-alive"},
		"none":       {func(w http.ResponseWriter, _ *http.Request) { hints(w, 103) }, "103, 200"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := pipenet.Listen()
				serveOne(t, &http.Server{Handler: c.handler}, ln, true)
				conn := (&rig{t: t, Listener: ln}).connect()
				defer conn.Close()
				conn.send(plainGet)
				if got := conn.heads(); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

// HTTP/2 has no header Connection: neither the interim headers nor the final one may have it.
func TestHeadersOfHTTP2(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"close": setsCloseInHints, "keep-alive": setsKeepAliveInHints,
	} {
		for in, drains := range map[string]bool{"before the drain": false, "in the drain": true} {
			t.Run(name+" "+in, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testHeadersOfHTTP2(t, handler, drains) })
			})
		}
	}
}

func testHeadersOfHTTP2(t *testing.T, handler http.HandlerFunc, drains bool) {
	began := make(chan (<-chan drained), 1)
	var r *rig
	r = newRig(t, &http.Server{Protocols: http2Only(), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, req *http.Request) {
			if drains {
				began <- r.drain()
				<-Draining(req.Context())
			}
			handler(w, req)
		})})
	p := r.http2()
	interim, final := p.headers(t)
	if len(interim) != 1 || interim[0].Get("Link") == "" {
		t.Errorf("the interim headers are %v", interim)
	}
	for _, h := range append(interim, final) {
		if removed := removeConnection(h); removed != nil {
			t.Errorf("a header has %v", removed)
		}
	}
	p.CloseIdleConnections()
	if drains {
		<-<-began
	}
}

// headers returns the headers of the response to a request.
func (p *http2Peer) headers(t *testing.T) (interim []http.Header, final http.Header) {
	t.Helper()
	trace := &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			interim = append(interim, http.Header(h))
			return nil
		},
	}
	req := get(t, "http://test/")
	resp, err := p.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return interim, resp.Header
}

// A request that is too large ends its connection, as with http.Server alone: net/http would have
// to read the rest of it.
func TestTooLargeRequest(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10)); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	for name, ours := range withAndWithoutUs {
		synctest.Test(t, func(t *testing.T) {
			ln := pipenet.Listen()
			serveOne(t, &http.Server{Handler: handler}, ln, ours)
			c := (&rig{t: t, Listener: ln}).connect()
			request := "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n" +
				strings.Repeat("x", 100) + plainGet
			go io.WriteString(c, request) //nolint:errcheck // the heads show it
			if got := c.heads(); got != "413 close" {
				t.Errorf("%s: %q", name, got)
			}
			_, _ = io.ReadAll(c.reader) // blocks if the connection does not end
			_ = c.Close()
			time.Sleep(time.Second) // net/http waits for half a second after a body not read
		})
	}
}

// writers returns the ResponseWriter that a handler gets from net/http alone, and that which it
// gets here.
func writers(t *testing.T, protocols *http.Protocols) (bare, ours http.ResponseWriter) {
	t.Helper()
	for name, with := range withAndWithoutUs {
		ln := listen(t)
		serveOne(t, &http.Server{
			Protocols: protocols,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if with {
					ours = w
				} else {
					bare = w
				}
			}),
		}, ln, with)
		transport := &http.Transport{Protocols: protocols}
		if _, _, err := fetch(t, transport, get(t, "http://"+ln.Addr().String())); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return bare, ours
}

// methods returns the names and types of the exported methods of a value.
func methods(v any) []string {
	var all []string
	for i := range reflect.TypeOf(v).NumMethod() {
		name := reflect.TypeOf(v).Method(i).Name
		all = append(all, fmt.Sprint(name, " ", reflect.ValueOf(v).Method(i).Type()))
	}
	return all
}

// A ResponseWriter has the methods of that of net/http, and not those of the other protocol:
// handlers find out by them what they can do.
func TestMethodsOfResponseWriters(t *testing.T) {
	for name, c := range map[string]struct {
		protocols        *http.Protocols
		hijacker, pusher bool
	}{
		"HTTP/1": {http1Only(), true, false},
		"HTTP/2": {http2Only(), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			bare, ours := writers(t, c.protocols)
			want := append(methods(bare), "Unwrap func() http.ResponseWriter")
			slices.Sort(want)
			if got := methods(ours); !slices.Equal(got, want) {
				t.Errorf("the methods are\n%q, want\n%q", got, want)
			}
			_, hijacker := ours.(http.Hijacker)
			if _, pusher := ours.(http.Pusher); hijacker != c.hijacker || pusher != c.pusher {
				t.Errorf("a Hijacker: %t, a Pusher: %t", hijacker, pusher)
			}
		})
	}
}

func http1Only() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// The owner may call a handler with a ResponseWriter of its own.
func TestOtherResponseWriters(t *testing.T) {
	s := newServer(managertest.New(t), &http.Server{})
	inner := httptest.NewRecorder()
	w, _ := s.newResponse(inner, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), nil)
	_, _ = io.WriteString(w, "hello")
	w.(http.Flusher).Flush()
	if inner.Body.String() != "hello" || !inner.Flushed {
		t.Errorf("%+v", inner)
	}
	if w, ok := w.(http.Hijacker); ok {
		t.Errorf("a %T is a Hijacker", w)
	}
}

// A ResponseController can do what it can with net/http alone.
func TestResponseController(t *testing.T) {
	for name, protocols := range map[string]*http.Protocols{
		"HTTP/1": http1Only(), "HTTP/2": http2Only(),
	} {
		var results []string
		for _, ours := range withAndWithoutUs {
			ln := listen(t)
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c := http.NewResponseController(w)
				fmt.Fprint(w, c.SetReadDeadline(time.Now().Add(time.Minute)), " ",
					c.SetWriteDeadline(time.Now().Add(time.Minute)), " ",
					c.EnableFullDuplex(), " ", c.Flush())
			})
			serveOne(t, &http.Server{Protocols: protocols, Handler: handler}, ln, ours)
			transport := &http.Transport{Protocols: protocols}
			body, _, err := fetch(t, transport, get(t, "http://"+ln.Addr().String()))
			results = append(results, fmt.Sprint(body, err))
		}
		if want := "<nil> <nil> <nil> <nil><nil>"; results[0] != results[1] || results[0] != want {
			t.Errorf("%s: %q", name, results)
		}
	}
}

// With full duplex a handler can respond before it has read the request.
func TestFullDuplex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{Handler: http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				c := http.NewResponseController(w)
				if err := c.EnableFullDuplex(); err != nil {
					t.Error(err)
				}
				_ = c.Flush()
				_, _ = io.Copy(w, r.Body)
			})})
		c := r.connect()
		result := r.drain()
		synctest.Wait()
		c.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n")
		if got := c.heads(); got != "200 close" {
			t.Errorf("got %q", got)
		}
		c.send("hello")
		const want = "5\r\nhello\r\n0\r\n\r\n"
		if body, err := io.ReadAll(c.reader); string(body) != want || err != nil {
			t.Errorf("the body is %q, %v", body, err)
		}
		_ = c.Close()
		(<-result).check(t, 0, 1, 1, 0)
	})
}
