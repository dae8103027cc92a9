//go:build linux

package gracehttp

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/managertest"
)

// A pushed request has the scheme of its connection. Since Go 1.27, net/http knows no TLS here, and
// refuses such a push behind it.
func TestSchemeOfPushedRequests(t *testing.T) {
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	trust.ServerName, trust.NextProtos = "127.0.0.1", []string{"h2"}
	for name, c := range map[string]struct {
		secure bool
		target string
		scheme string
	}{
		"TLS":                  {secure: true, target: "/pushed", scheme: httpsScheme},
		"TLS, an absolute URL": {secure: true, target: "https://test/pushed", scheme: httpsScheme},
		"plain":                {target: "/pushed", scheme: httpScheme},
		"plain, absolute URL":  {target: "http://test/pushed", scheme: httpScheme},
	} {
		t.Run(name, func(t *testing.T) {
			pushed := make(chan error, 1)
			mux := http.NewServeMux()
			mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
				pushed <- w.(http.Pusher).Push(c.target, nil)
			})
			promised := make(chan string, 1)
			mux.HandleFunc("/pushed", func(_ http.ResponseWriter, r *http.Request) {
				promised <- r.Host + r.URL.Path
			})
			srv := &http.Server{Handler: mux, Protocols: http2Only()}
			srv.Protocols.SetHTTP2(true)
			ln, m := listen(t), managertest.New(t)
			if c.secure {
				err = StartTLS(m, srv, ln, cert, key)
			} else {
				err = Start(m, srv, ln)
			}
			if err != nil {
				t.Fatal(err)
			}
			w := newWire(t, dialMaybeTLS(t, ln, c.secure, trust))
			w.tls = c.secure
			w.ask(1, "/")
			err := within(t, "push", pushed)
			if refusesPush := runtime.Version() >= "go1.27"; err != nil && c.secure && refusesPush {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("PUSH 2 82%x", c.scheme)
			if url := within(t, "pushed request", promised); url != "test/pushed" {
				t.Errorf("%s is pushed", url)
			}
			eventually(t, "promised as "+want, func() bool {
				return strings.Contains(w.heardSoFar(), want)
			})
		})
	}
}

func dialMaybeTLS(t *testing.T, ln net.Listener, secure bool, trust *tls.Config) net.Conn {
	t.Helper()
	if secure {
		return dialTLS(t, ln.Addr().String(), trust).Conn
	}
	return dial(t, "tcp", ln.Addr().String()).Conn
}
