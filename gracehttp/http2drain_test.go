package gracehttp

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newHTTP2Rig(t *testing.T, opts ...Option) *rig {
	t.Helper()
	return newRig(t, &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only()}, opts...)
}

const (
	noMore  = "GOAWAY 2147483647, PING"
	answer1 = "HEADERS 1, DATA 1 end"
	answer3 = "HEADERS 3, DATA 3 end"
)

// A request in flight while the client is told to send no more is answered: the GOAWAY of net/http
// would refuse it.
func TestHTTP2RequestThatCrosses(t *testing.T) {
	const delay = time.Second / 2 // of the client
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/")
		synctest.Wait()
		w.expect(answer1)
		w.setStops(true)
		result := r.drain()
		synctest.Wait()
		w.ask(3, "/1s")
		time.Sleep(delay)
		w.expect(answer1)
		w.setStops(false)
		(<-result).check(t, time.Second+4*delay, 1, 1, 0)
		w.expect(answer1 + ", " + noMore + ", " + answer3 + ", the end")
	})
}

// So is a request that comes a little later: the client may answer the PING just before it writes
// the request.
func TestHTTP2RequestThatIsLate(t *testing.T) {
	for _, grace := range []time.Duration{DefaultIdleGrace, 0} {
		synctest.Test(t, func(t *testing.T) {
			r := newHTTP2Rig(t, WithIdleGrace(grace))
			w := r.wire()
			w.ask(1, "/")
			synctest.Wait()
			result := r.drain()
			time.Sleep(leaveTime - time.Millisecond)
			w.expect(answer1 + ", " + noMore)
			w.ask(3, "/")
			(<-result).check(t, 2*leaveTime, 1, 1, 0)
			w.expect(answer1 + ", " + noMore + ", " + answer3 + ", the end")
		})
	}
}

// A busy client is told after the response to its last request, and the connection ends soon after
// that.
func TestHTTP2BusyConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/1s")
		w.ask(3, "/2s")
		synctest.Wait()
		result := r.drain()
		time.Sleep(time.Second / 2)
		w.expect("")
		(<-result).check(t, 2*time.Second+leaveTime, 2, 1, 0)
		w.expect(answer1 + ", " + answer3 + ", " + noMore + ", the end")
	})
}

// A request that is answered before it has arrived completely is over when it is reset too.
func TestHTTP2ResponseBeforeTheEndOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 10_000) // more than fits into a buffer
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Duration(r.URL.Path[1]-'0') * time.Second)
			_, _ = io.WriteString(w, large)
		})
		r := newRig(t, &http.Server{Protocols: http2Only(), Handler: handler})
		w := r.wire()
		w.ask(1, "/1")
		w.open(3, "/2", 0)
		synctest.Wait()
		(<-r.drain()).check(t, 2*time.Second+leaveTime, 2, 1, 0)
		w.expect(answer1 + ", " + answer3 + ", RESET 3, " + noMore + ", the end")
	})
}

// The connection is not closed before its client closes it, or has been silent for the grace
// period: the client may not have received the last response.
func TestHTTP2ResponseIsReadLate(t *testing.T) {
	for name, silence := range map[string]func(*http2Wire){
		"no answer to PING": (*http2Wire).setMute,
		"it stays":          (*http2Wire).setStays,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newHTTP2Rig(t)
				w := r.wire()
				w.ask(1, "/1s")
				w.ask(3, "/8s")
				synctest.Wait()
				result := r.drain()
				silence(w)
				time.Sleep(8 * time.Second)
				const pause = DefaultIdleGrace - time.Second
				for range 3 {
					time.Sleep(pause)
					w.send(appendFrame(nil, pingFrame, 0, 0, "a client"))
				}
				(<-result).check(t, 8*time.Second+3*pause+DefaultIdleGrace, 2, 1, 0)
				w.expect(answer1 + ", " + noMore + ", " + answer3 + ", the end")
			})
		})
	}
}

// A client that does not even read the GOAWAY holds the drain up no longer than an idle HTTP/1
// connection.
func TestHTTP2ClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/")
		synctest.Wait()
		w.setStops(true)
		(<-r.drain()).check(t, DefaultIdleGrace, 0, 1, 0)
		w.setStops(false)
	})
}

// A client that has just connected is told after its first response, or at the end of the grace
// period if it has not sent a request. A client whose response does not end is told then too.
func TestHTTP2IsToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		late, silent, long := r.wire(), r.wire(), r.wire()
		long.ask(1, "/10s")
		result := r.drain()
		time.Sleep(DefaultIdleGrace - time.Millisecond)
		for _, w := range []*http2Wire{late, silent, long} {
			w.expect("")
		}
		late.ask(1, "/")
		synctest.Wait()
		late.expect(answer1 + ", " + noMore)
		(<-result).check(t, 10*time.Second+leaveTime, 2, 3, 0)
		late.expect(answer1 + ", " + noMore + ", the end")
		silent.expect(noMore + ", the end")
		long.expect(noMore + ", " + answer1 + ", the end")
	})
}

// answers are the frames of responses on several streams.
func answers(streams ...int) string {
	var frames []string
	for _, s := range streams {
		frames = append(frames, fmt.Sprintf("HEADERS %d, DATA %d end", s, s))
	}
	return strings.Join(frames, ", ")
}

// A client that keeps opening streams after it was told not to is eventually refused.
func TestHTTP2ClientThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/1500ms")
		synctest.Wait()
		result := r.drain()
		for stream := uint32(3); stream <= 21; stream += 2 { // there is always one open
			time.Sleep(time.Second)
			w.ask(stream, "/1500ms")
		}
		d := <-result
		d.check(t, d.took, 11, 1, 0)
		want := answer1 + ", " + answers(3, 5, 7) + ", " + noMore + ", " + answers(9, 11, 13, 15, 17)
		w.expect(want + ", GOAWAY 21, " + answers(19, 21) + ", the end")
	})
}

// After a GOAWAY of net/http, at the idle timeout, none follows that refuses less (RFC 9113,
// section 6.8).
func TestHTTP2ThatEndsAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only()}
		srv.IdleTimeout = time.Minute
		r := newRig(t, srv)
		w := r.wire()
		w.ask(1, "/")
		time.Sleep(time.Minute + time.Second/2)
		w.expect(answer1 + ", GOAWAY 1")
		(<-r.drain()).check(t, time.Second/2, 0, 1, 0) // net/http closes it then
		w.expect(answer1 + ", GOAWAY 1, PING, the end")
	})
}

// When the client resets the last request, the connection ends.
func TestHTTP2ClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/")
		w.ask(3, "/1h")
		w.ask(5, "/1s")
		synctest.Wait()
		result := r.drain()
		time.Sleep(2 * time.Second)
		w.send(appendFrame(nil, resetFrame, 0, 3, "\x00\x00\x00\x08"))
		(<-result).check(t, 2*time.Second+leaveTime, 2, 1, 0)
		w.expect(answer1 + ", HEADERS 5, DATA 5 end, " + noMore + ", the end")
	})
}

// If net/http does not pass HTTP/2 connections on, it ends them in its own way.
func TestHTTP2OfNetHTTP(t *testing.T) {
	passes := passesUnencrypted
	passesUnencrypted = func() bool { return false }
	defer func() { passesUnencrypted = passes }()
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		idle, busy, frozen := r.wire(), r.wire(), r.wire()
		idle.ask(1, "/")
		busy.ask(1, "/1s")
		frozen.ask(1, "/")
		synctest.Wait()
		frozen.setStops(true)
		(<-r.drain()).check(t, DefaultIdleGrace, 1, 3, 0)
		frozen.setStops(false)
		idle.expect(answer1 + ", GOAWAY 1, the end")
		busy.expect("GOAWAY 1, " + answer1 + ", the end")
	})
}

// A stream that arrives after the half-close is lost, and does not delay the end.
func TestHTTP2StreamAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.setStays()
		w.ask(1, "/")
		synctest.Wait()
		result := r.drain()
		time.Sleep(leaveTime + time.Second)
		w.ask(3, "/")
		(<-result).check(t, leaveTime+time.Second+DefaultIdleGrace, 1, 1, 0)
		w.expect(answer1 + ", " + noMore + ", the end")
	})
}

// A request that arrives in pieces keeps the connection open. A client that keeps sending other
// frames does not.
func TestHTTP2WhatIsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		slow, lively := r.wire(), r.wire()
		for _, w := range []*http2Wire{slow, lively} {
			w.ask(1, "/")
		}
		synctest.Wait()
		result := r.drain()
		request := appendFrame(nil, headersFrame, endHeadersFlag|endStreamFlag, 3,
			"\x82\x86"+literal(4, "/")+literal(1, "test"))
		for len(request) > 0 {
			time.Sleep(leaveTime - 100*time.Millisecond)
			n := min(len(request), 10)
			slow.send(request[:n])
			request = request[n:]
			lively.send(appendFrame(nil, pingFrame, 0, 0, "a client"))
		}
		for lively.heardSoFar() == answer1+", "+noMore {
			time.Sleep(leaveTime - 100*time.Millisecond)
			_, _ = lively.conn.Write(appendFrame(nil, pingFrame, 0, 0, "a client"))
		}
		(<-result).check(t, DefaultIdleGrace, 1, 2, 0)
		slow.expect(answer1 + ", " + noMore + ", " + answer3 + ", the end")
	})
}
