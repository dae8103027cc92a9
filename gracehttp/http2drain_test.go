package gracehttp

import (
	"net/http"
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

// A request that is on its way while the client is told to send no more is answered: net/http's own GOAWAY would refuse it.
func TestHTTP2RequestThatCrosses(t *testing.T) {
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
		time.Sleep(500 * time.Millisecond)
		w.expect(answer1)
		w.setStops(false)
		(<-result).check(t, time.Second, 1, 1, 0)
		w.expect(answer1 + ", " + noMore + ", " + answer3 + ", PING, the end")
	})
}

// The connection is not closed before the client has got the last answer, and not for as long as it says something.
func TestHTTP2AnswerIsReadLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/1s")
		synctest.Wait()
		result := r.drain()
		time.Sleep(time.Second / 2)
		w.expect(noMore)
		w.setMute(true)
		time.Sleep(time.Second)
		for range 3 {
			w.expect(noMore + ", " + answer1 + ", PING")
			time.Sleep(DefaultIdleGrace - time.Second)
			w.send(appendFrame(nil, 8, 0, 0, "\x00\x00\x00\x01")) // WINDOW_UPDATE
		}
		(<-result).check(t, time.Second+time.Second/2+3*(DefaultIdleGrace-time.Second)+DefaultIdleGrace, 1, 1, 0)
		w.expect(noMore + ", " + answer1 + ", PING, the end")
	})
}

// A client that does not even take the GOAWAY is not waited for longer than for an idle connection of HTTP/1.
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

// A client that has just connected is told after its first request, or when it has not sent one by the end of the grace.
func TestHTTP2FreshConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		late, silent := r.wire(), r.wire()
		result := r.drain()
		time.Sleep(DefaultIdleGrace - time.Millisecond)
		late.expect("")
		silent.expect("")
		late.ask(1, "/1s")
		synctest.Wait()
		late.expect(noMore)
		(<-result).check(t, DefaultIdleGrace+time.Second, 1, 2, 0)
		late.expect(noMore + ", " + answer1 + ", PING, the end")
		silent.expect(noMore + ", the end")
	})
}

// A client that opens streams in spite of what it was told is refused by and by.
func TestHTTP2ClientThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHTTP2Rig(t)
		w := r.wire()
		w.ask(1, "/2s")
		synctest.Wait()
		result := r.drain()
		for stream := uint32(3); stream <= 13; stream += 2 { // there is always one open
			time.Sleep(time.Second)
			w.ask(stream, "/2s")
		}
		d := <-result
		d.check(t, d.took, 7, 1, 0)
		want := noMore + ", " + answer1
		for _, answer := range []string{"3", "5", "7", "9", "11"} {
			want += ", HEADERS " + answer + ", DATA " + answer + " end"
		}
		w.expect(want + ", GOAWAY 13, HEADERS 13, DATA 13 end, PING, the end")
	})
}

// A GOAWAY of net/http, after the idle timeout, is not followed by one that refuses less (RFC 9113, section 6.8).
func TestHTTP2ThatEndsAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only(), IdleTimeout: time.Minute})
		w := r.wire()
		w.ask(1, "/")
		time.Sleep(time.Minute + time.Second/2)
		w.expect(answer1 + ", GOAWAY 1")
		(<-r.drain()).check(t, 0, 0, 1, 0)
		w.expect(answer1 + ", GOAWAY 1, PING, the end")
	})
}

// A stream that net/http ignores after its GOAWAY is not waited for.
func TestHTTP2IgnoredStreamIsNotOpen(t *testing.T) {
	c := newHTTP2Conn(nil, nil, nil)
	receive := func(stream uint32) {
		f := frame(appendFrame(nil, headersFrame, endHeadersFlag, stream, "12345678"))
		c.noteReceived(&f)
	}
	receive(1)
	receive(3)
	f := frame(appendFrame(nil, goAwayFrame, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"))
	c.noteSent(&f)
	receive(5)
	if len(c.streams) != 1 || !c.streams[1] {
		t.Errorf("%v are open", c.streams)
	}
}

// If net/http cannot be asked to give connections of HTTP/2 away, it ends them in its own way.
func TestHTTP2OfNetHTTP(t *testing.T) {
	gives := givesUnencrypted
	givesUnencrypted = func() bool { return false }
	defer func() { givesUnencrypted = gives }()
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
