package gracehttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/managertest"
)

// serveOne serves with this package or with net/http alone, until the test is over.
func serveOne(t *testing.T, srv *http.Server, ln net.Listener, ours bool) {
	t.Helper()
	m := managertest.New(t)
	if !ours {
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }() // ends with the test
		t.Cleanup(func() { _, _ = srv.Close(), <-served })
	} else if err := Start(m, srv, ln); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// fetch sends one request on a connection of its own, and returns the body and the protocol of the
// response.
func fetch(
	t *testing.T, transport *http.Transport, req *http.Request,
) (body, proto string, err error) {
	t.Helper()
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), resp.Proto, err
}

// keyPair returns a certificate for a server, and a configuration for its clients.
func keyPair(t *testing.T) (pair tls.Certificate, trust *tls.Config) {
	t.Helper()
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err == nil {
		pair, err = tls.LoadX509KeyPair(cert, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair, trust
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// The files of an upload are removed when its handler has returned, if net/http does that. (Go 1.27
// does not.)
func TestHTTP2FilesOfUploads(t *testing.T) {
	left := 0 // by net/http
	for _, ours := range []bool{false, true} {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		ln := listen(t)
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := r.ParseMultipartForm(1)
			fmt.Fprint(w, err, filesIn(t, dir))
		})
		serveOne(t, &http.Server{Protocols: http2Only(), Handler: handler}, ln, ours)
		transport := &http.Transport{Protocols: http2Only()}
		body, _, err := fetch(t, transport, upload(t, "http://"+ln.Addr().String()))
		if err != nil || body != "<nil> 1" {
			t.Errorf("%q, %v", body, err)
		}
		wait := time.Second
		if ours {
			wait = 30 * time.Second
		}
		for end := time.Now().Add(wait); filesIn(t, dir) > left && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if n := filesIn(t, dir); !ours {
			left = n
		} else if n > left {
			t.Errorf("%d files are left, with net/http alone %d", n, left)
		}
	}
}

func filesIn(t *testing.T, dir string) int {
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	return len(files)
}

// upload returns a request with a file that is too large to be kept in memory.
func upload(t *testing.T, url string) *http.Request {
	t.Helper()
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	part, err := parts.CreateFormFile("file", "name")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(make([]byte, 11<<20))
	_ = parts.Close()
	req := get(t, url)
	req.Method, req.Body = http.MethodPost, io.NopCloser(&form)
	req.Header.Set("Content-Type", parts.FormDataContentType())
	return req
}

// A ConnContext may return any context.
func TestHTTP2WithAContextOfTheOwner(t *testing.T) {
	ln := listen(t)
	serveOne(t, &http.Server{
		Protocols: http2Only(), Handler: http.HandlerFunc(site),
		ConnContext: func(context.Context, net.Conn) context.Context {
			return context.Background()
		},
	}, ln, true)
	transport := &http.Transport{Protocols: http2Only()}
	body, _, err := fetch(t, transport, get(t, "http://"+ln.Addr().String()))
	if err != nil || body != "hello" {
		t.Errorf("%q, %v", body, err)
	}
}

// hidden is a connection with TLS that is not a *tls.Conn.
type hidden struct {
	net.Conn
	tls *tls.Conn
}

func (h hidden) ConnectionState() tls.ConnectionState       { return h.tls.ConnectionState() }
func (h hidden) HandshakeContext(ctx context.Context) error { return h.tls.HandshakeContext(ctx) }

type hidingListener struct{ net.Listener }

func (l hidingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return hidden{c, c.(*tls.Conn)}, nil
}

// net/http does the same with such connections as without this package.
func TestHTTP2OnHiddenTLS(t *testing.T) {
	pair, trust := keyPair(t)
	var results [2]string
	for i, ours := range []bool{false, true} {
		config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
		ln := hidingListener{tls.NewListener(listen(t), config)}
		serveOne(t, &http.Server{Handler: http.HandlerFunc(site)}, ln, ours)
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust.Clone()}
		_, proto, err := fetch(t, transport, get(t, "https://"+ln.Addr().String()))
		results[i] = fmt.Sprint(proto, err != nil)
	}
	if results[0] != results[1] {
		t.Errorf("%s, with net/http alone %s", results[1], results[0])
	}
}

// HTTP/2 without sufficient security is refused, when the server is set up or when a client
// connects.
func TestHTTP2WithoutSecurity(t *testing.T) {
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	weak := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}
	trust.CipherSuites = weak
	for permitted, want := range map[bool]string{false: "", true: "HTTP/2.0"} {
		srv := &http.Server{
			Handler: http.HandlerFunc(site), TLSConfig: &tls.Config{MaxVersion: tls.VersionTLS12},
			HTTP2: &http.HTTP2Config{PermitProhibitedCipherSuites: permitted},
		}
		ln, m := listen(t), managertest.New(t)
		if err := StartTLS(m, srv, ln, cert, key); err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust.Clone()}
		_, proto, err := fetch(t, transport, get(t, "https://"+ln.Addr().String()))
		if proto != want || (err == nil) != permitted {
			t.Errorf("permitted: %v: %s, %v", permitted, proto, err)
		}
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	config := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: weak}
	if servesHTTP2(&http.Server{TLSConfig: config}) {
		t.Error("net/http does not refuse the ciphers")
	}
	s := &server{Server: &http.Server{}}
	for version, want := range map[uint16]bool{
		tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		if s.isSecure(tls.ConnectionState{Version: version, CipherSuite: secureCiphers[0]}) != want {
			t.Errorf("%s is secure: %v", tls.VersionName(version), !want)
		}
	}
}

// The TLS configuration of the owner is not changed.
func TestConfigurationIsLeftAlone(t *testing.T) {
	config := &tls.Config{NextProtos: []string{"h2"}}
	serveOne(t, &http.Server{Handler: http.HandlerFunc(site), TLSConfig: config}, listen(t), true)
	if _, err := newIdleRule(&http.Server{TLSConfig: config}); err != nil {
		t.Error(err)
	}
	if !slices.Equal(config.NextProtos, []string{"h2"}) {
		t.Errorf("the protocols are %q", config.NextProtos)
	}
}
