package httpload

import (
	"net/http"
	"net/http/httptrace"
	"sync"
)

// onceTransport sends requests of HTTP/2 on one connection after another. It sends none again that
// the server has refused, which http.Transport does where it can.
type onceTransport struct {
	*http.Transport
	scheme  string
	dialled func() // is called for each connection

	mu   sync.Mutex
	conn *http.ClientConn // nil if there is none
}

func (t *onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		conn, err := t.current(req)
		if err != nil {
			return nil, err
		}
		sent := false
		trace := &httptrace.ClientTrace{WroteHeaderField: func(string, []string) { sent = true }}
		ctx := httptrace.WithClientTrace(req.Context(), trace)
		resp, err := conn.RoundTrip(req.WithContext(ctx))
		if err == nil || sent || req.Context().Err() != nil {
			return resp, err
		}
		t.leave(conn) // it has learned just now that it must not send more there
	}
}

// current returns the connection for the next request.
func (t *onceTransport) current(req *http.Request) (*http.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil && t.conn.Err() == nil {
		return t.conn, nil
	}
	// The Transport dials its target whatever the address is.
	conn, err := t.NewClientConn(req.Context(), t.scheme, req.URL.Host+":0")
	if err == nil {
		t.conn = conn
		t.dialled()
	}
	return conn, err
}

func (t *onceTransport) leave(conn *http.ClientConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == conn {
		t.conn = nil
	}
}
