//go:build unix

package exampletest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-grace/grace/internal/test/httpload"
)

// Client is a connection to a service that answers lines.
type Client struct {
	net.Conn
	in *bufio.Reader
}

// Dial connects to the service. The connection is closed by Stop at the latest.
func (s *Service) Dial() *Client {
	nc, err := net.DialTimeout("tcp", s.addr, patience)
	check(err)
	check(nc.SetDeadline(time.Now().Add(2 * patience)))
	c := &Client{nc, bufio.NewReader(nc)}
	s.clients = append(s.clients, c)
	return c
}

// Send sends text as it is. If it gets lost, the next answer shows that.
func (c *Client) Send(text string) { _, _ = io.WriteString(c, text) }

// Ask sends a line, and returns the answer or the error that came instead.
func (c *Client) Ask(line string) string {
	c.Send(line + "\n")
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(answer, "\n")
}

// Ask asks on a connection of its own.
func (s *Service) Ask(line string) string {
	c := s.Dial()
	defer c.Close() //nolint:errcheck // nothing was written that the answer does not confirm
	return c.Ask(line)
}

// Get sends a request on a connection of its own, and returns the answer in one line.
func (s *Service) Get(path string) string { return text(s.do(http.MethodGet, path, nil)) }

// Post is Get with another method.
func (s *Service) Post(path string) string { return text(s.do(http.MethodPost, path, nil)) }

// GetTLS is Get over TLS.
func (s *Service) GetTLS(path string, config *tls.Config) string {
	return text(s.do(http.MethodGet, path, config))
}

// do sends a request on a connection of its own, with TLS if there is a configuration for that.
func (s *Service) do(method, path string, config *tls.Config) (*http.Response, error) {
	scheme := "http://"
	if config != nil {
		scheme = "https://"
	}
	req, err := http.NewRequest(method, scheme+s.addr+path, nil)
	check(err)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}
	return (&http.Client{Transport: transport, Timeout: patience}).Do(req)
}

func text(res *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(res.Body)
	check(err)
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body)))
}

// Stream is a response that goes on for long.
type Stream struct {
	body io.ReadCloser
	in   *bufio.Scanner
}

// Stream sends a request on a connection of its own. The stream is closed by Stop at the latest.
func (s *Service) Stream(path string) *Stream {
	res, err := s.do(http.MethodGet, path, nil) //nolint:bodyclose // Stop closes it
	check(err)
	s.clients = append(s.clients, res.Body)
	return &Stream{res.Body, bufio.NewScanner(res.Body)}
}

// Next returns the next line that is not empty, "complete" after the last one of a complete
// response, or the error that came instead.
func (s *Stream) Next() string {
	for s.in.Scan() {
		if line := s.in.Text(); line != "" {
			return line
		}
	}
	if err := errors.Join(s.in.Err(), s.body.Close()); err != nil {
		return err.Error()
	}
	return "complete"
}

// Certificate makes a certificate for a service, and its key, as the files cert.pem and key.pem.
// The configuration is that of clients which trust it.
func Certificate() (files []File, trust *tls.Config) {
	dir, err := os.MkdirTemp("", "example")
	check(err)
	certFile, keyFile, trust, err := httpload.Certificate(dir)
	check(err)
	for name, path := range map[string]string{"cert.pem": certFile, "key.pem": keyFile} {
		content, err := os.ReadFile(path)
		check(err)
		files = append(files, File{name, string(content)})
	}
	check(os.RemoveAll(dir))
	return files, trust
}
