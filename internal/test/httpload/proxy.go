package httpload

import (
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strings"
)

// proxy answers as its backend does.
var proxy = &httputil.ReverseProxy{
	Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", "backend"
	},
	Transport: backend{},
	// It would log each request that is cut off.
	ErrorLog: log.New(io.Discard, "", 0),
}

// backend echoes requests, after the interim answers that they ask for. It has no connection, and
// reports interim answers as [http.Transport] does.
type backend struct{}

func (backend) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Expect") != "" {
		if err := reportInterim(r, http.StatusContinue); err != nil {
			return nil, err
		}
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	for _, code := range interimOf(r) {
		if err := reportInterim(r, code); err != nil {
			return nil, err
		}
	}
	id := r.Header.Get(idHeader)
	header := http.Header{}
	header.Set(idHeader, id)
	header.Set(methodHeader, r.Method)
	text := firstLine(r.Method, id) + body
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: header, Request: r,
		ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text)),
	}, nil
}

// readBody returns the body of a request of a client, which is nil if there is none.
func readBody(r *http.Request) (string, error) {
	if r.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

func reportInterim(r *http.Request, code int) error {
	trace := httptrace.ContextClientTrace(r.Context())
	return trace.Got1xxResponse(code, textproto.MIMEHeader{"Link": {linkOf(r)}})
}
