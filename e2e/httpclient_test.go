//go:build linux

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The client of net/http sends a request again if it can, but not one whose body it cannot read
// again. Each request here is one of those, and is handled once.
func TestNetHTTPClientNoticesNoUpgrade(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string) {
		s := start(t, config{Mode: mode, Busy: 200})
		roots := x509.NewCertPool()
		roots.AddCert(s.cert.Certificate)
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 10,
		}
		defer transport.CloseIdleConnections()
		c := &http.Client{Transport: transport, Timeout: patience}
		ctx, l := newLoad(t)
		for i := range 10 {
			url := []string{"http://" + s.plain, "https://" + s.tls}[i%2] + "/echo"
			l.running.Go(func() { // ends with ctx
				l.repeat(ctx, fmt.Sprint("client ", i, " of ", url), func(id string) error {
					return postOnce(c, url, id)
				})
			})
		}
		s.upgradeTenTimes()
		l.stop()
		transport.CloseIdleConnections()
		l.checkWith(s).check(t, mode)
	})
}

// postOnce sends a body that can be read only once.
func postOnce(c *http.Client, url, id string) error {
	body := strings.Repeat(id, 100)
	resp, err := c.Post(url+"?id="+id, "text/plain", struct{ io.Reader }{strings.NewReader(body)})
	if err != nil {
		return err
	}
	return check(resp, answer{ID: id, Method: http.MethodPost, Body: body})
}
