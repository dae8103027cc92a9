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

// selfTest is a course of events on a connection, and whether it ends in a Read for the next request with nothing of that in a buffer.
type selfTest struct {
	name   string
	sent   string // there from the start
	during string // comes while the handler runs, to the Read by which http.Server waits for the client's end
	after  string // comes to the Read after that
	idle   bool
}

const (
	aGet  = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	aWait = "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
	aPost = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
)

var selfTests = []selfTest{
	{name: "a request", sent: aGet, idle: true}, // the first one tells the size of the buffer
	{name: "a request that takes a while", sent: aWait, idle: true},
	{name: "a body", sent: aPost, idle: true},
	{name: "a body that is not read", sent: "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", idle: true},
	{name: "chunks", sent: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", idle: true},
	{name: "trailers", sent: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: B\r\n\r\n3\r\nabc\r\n0\r\nB: c\r\n\r\n", idle: true},
	{name: "two requests at once", sent: aGet + aGet, idle: true},
	{name: "chunks without their end", sent: "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"},
	{name: "one byte of the next", sent: aGet + "G"},
	{name: "three bytes of the next", sent: aGet + "GET"},
	{name: "four bytes of the next", sent: aGet + "GET "},
	{name: "a line of the next", sent: aGet + "GET / HTTP/1.1\r\n"},
	{name: "a line of the next after a body", sent: aPost + "GET / HTTP/1.1\r\n"},
	{name: "an empty line after a body", sent: aPost + "\r\n"},
	{name: "the next without its body", sent: aGet + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"},
	{name: "a request without its body", sent: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"},
	{name: "a body that is read as the buffer is", sent: "POST /buffer HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"},
	{name: "one byte of the next during the handler", sent: aWait, during: "G"},
	{name: "one byte during the handler, a line after", sent: aWait, during: "G", after: "ET / HTTP/1.1\r\n"},
	{name: "a hijacked connection", sent: "GET /hijack HTTP/1.1\r\nHost: a\r\n\r\n"},
}

// minBuffer is a size for which no other Read is mistaken by accident.
const minBuffer = 512

// newIdleRule finds out how the net/http of this program waits for requests, with the settings of a server, and proves that a rule
// tells those waits from everything else.
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
		return nil, fmt.Errorf("gracehttp: net/http reads a request into %d bytes", buffer)
	}
	rule := idleWithBuffer(buffer)
	for _, t := range selfTests {
		if err := t.check(srv, rule); err != nil {
			return nil, err
		}
	}
	return rule, nil
}

// check runs the self-test.
func (t selfTest) check(srv *http.Server, rule idleRule) error {
	idle, err := t.run(srv, rule)
	if err != nil {
		return fmt.Errorf("gracehttp: net/http, after %s: %w", t.name, err)
	}
	if idle != t.idle {
		return fmt.Errorf("gracehttp: net/http, after %s: the connection is taken for idle: %t", t.name, idle)
	}
	return nil
}

// selfTestTimeout bounds what takes microseconds.
const selfTestTimeout = 5 * time.Second

// run serves one connection that is not there, until it is read from in vain.
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
		err = errors.New("it has closed the connection")
	case <-timeout.C:
		err = errors.New("it does not read the connection")
	}
	_, _ = s.Close(), c.Close()
	<-done
	return idle, err
}
