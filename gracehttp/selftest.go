package gracehttp

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// selfTest is a course of events on a connection, and whether it ends in a Read that waits for the
// next request with no part of it in a buffer.
type selfTest struct {
	name   string
	sent   string // there from the start
	during string // arrives during the handler, at the Read that waits for the end of the client
	after  string // arrives at the Read after that
	idle   bool
}

const (
	hostLine = "Host: a\r\n"
	aGet     = "GET / HTTP/1.1\r\n" + hostLine + "\r\n"
	aWait    = "GET /wait HTTP/1.1\r\n" + hostLine + "\r\n"
	aHijack  = "GET /hijack HTTP/1.1\r\n" + hostLine + "\r\n"

	aHeader = " HTTP/1.1\r\n" + hostLine // of a POST
	ofThree = aHeader + "Content-Length: 3\r\n\r\n"
	ofMany  = aHeader + "Content-Length: 9000\r\n\r\n"
	chunked = aHeader + "Transfer-Encoding: chunked\r\n"
	aPost   = "POST /" + ofThree + "abc"
)

var selfTests = []selfTest{
	{name: "a request", sent: aGet, idle: true}, // the first one finds the size of the buffer
	{name: "a request that takes a while", sent: aWait, idle: true},
	{name: "a body", sent: aPost, idle: true},
	{name: "a body that is not read", sent: "POST /ignore" + ofThree + "abc", idle: true},
	{name: "chunks", sent: "POST /" + chunked + "\r\n3\r\nabc\r\n0\r\n\r\n", idle: true},
	{
		name: "trailers", idle: true,
		sent: "POST /" + chunked + "Trailer: B\r\n\r\n3\r\nabc\r\n0\r\nB: c\r\n\r\n",
	},
	{name: "two requests at once", sent: aGet + aGet, idle: true},
	{name: "chunks without their end", sent: "POST /ignore" + chunked + "\r\n3\r\nabc\r\n0\r\n"},
	{name: "one byte of the next", sent: aGet + "G"},
	{name: "three bytes of the next", sent: aGet + "GET"},
	{name: "four bytes of the next", sent: aGet + "GET "},
	{name: "a line of the next", sent: aGet + "GET / HTTP/1.1\r\n"},
	{name: "a line of the next after a body", sent: aPost + "GET / HTTP/1.1\r\n"},
	{name: "an empty line after a body", sent: aPost + "\r\n"},
	{name: "the next without its body", sent: aGet + "POST /" + ofMany},
	{name: "a request without its body", sent: "POST /" + ofMany},
	{name: "a body that is read like a request", sent: "POST /buffer" + ofMany},
	{name: "one byte of the next during the handler", sent: aWait, during: "G"},
	{
		name: "one byte during the handler, a line after",
		sent: aWait, during: "G", after: "ET / HTTP/1.1\r\n",
	},
	{name: "a hijacked connection", sent: aHijack},
}

// minBuffer is a size that no other Read has by accident.
const minBuffer = 512

// newIdleRule finds out how the net/http of this program waits for requests, with the settings of a
// server, and checks that a rule tells those waits from everything else.
func newIdleRule(srv *http.Server) (idleRule, error) {
	buffer := 0
	learn := func(sets, size int) bool {
		buffer = size
		return sets == 1
	}
	if err := selfTests[0].check(srv, learn); err != nil {
		return nil, err
	}
	if buffer < minBuffer {
		return nil, fmt.Errorf("gracehttp: self-test of net/http: it reads requests into a buffer "+
			"of %d bytes, and not of at least %d", buffer, minBuffer)
	}
	rule := idleWithBuffer(buffer)
	for _, t := range selfTests {
		if err := t.check(srv, rule); err != nil {
			return nil, err
		}
	}
	return rule, nil
}

// check runs the self-test and returns an error if it fails.
func (t selfTest) check(srv *http.Server, rule idleRule) error {
	idle, err := t.run(srv, rule)
	if err != nil {
		return fmt.Errorf("gracehttp: self-test of net/http: after %s %w", t.name, err)
	}
	if idle != t.idle {
		return fmt.Errorf("gracehttp: self-test of net/http: after %s it is idle: %t, and not %t",
			t.name, idle, t.idle)
	}
	return nil
}

// selfTestTimeout bounds a self-test, which takes microseconds.
const selfTestTimeout = 5 * time.Second

var (
	errSelfTestClosed = errors.New("it closes the connection")
	errSelfTestSilent = fmt.Errorf("it does not read the connection within %v", selfTestTimeout)
)

// run serves one connection in memory until a Read finds nothing.
func (t selfTest) run(srv *http.Server, rule idleRule) (idle bool, err error) {
	c := newSelfTestConn(t, rule)
	s := settingsOf(srv)
	s.Handler, s.ErrorLog = http.HandlerFunc(c.handle), log.New(io.Discard, "", 0)
	s.ConnState = func(_ net.Conn, state http.ConnState) { c.note(state) }
	s.BaseContext, s.ConnContext, s.TLSNextProto, s.TLSConfig = nil, nil, nil, nil
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = s.Serve(newSingleListener(c, nil))
	}()
	timeout := time.NewTimer(selfTestTimeout)
	defer timeout.Stop()
	select {
	case idle = <-c.result:
	case <-c.over:
		err = errSelfTestClosed
	case <-timeout.C:
		err = errSelfTestSilent
	}
	_, _ = s.Close(), c.Close()
	<-done
	return idle, err
}
