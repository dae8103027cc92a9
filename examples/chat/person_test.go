//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// person is a client of the chat. It has a single connection.
type person struct {
	nick  string
	conn  net.Conn
	sent  int           // messages; one goroutine talks
	ended chan struct{} // closed at the end of the connection

	leaving atomic.Bool // on its own initiative

	mu    sync.Mutex
	heard []string      // messages
	own   int           // of them
	pong  string        // the payload of the last one
	code  ws.StatusCode // of the close frame; 0 if there was none
	err   error         // at the end of the connection
	more  chan struct{} // closed when it hears something
}

func dial(addr, nick string) (*person, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return nil, err
	}
	query := url.Values{"nick": {nick}}.Encode()
	to := &url.URL{Scheme: "ws", Host: addr, Path: "/ws", RawQuery: query}
	in, _, err := ws.Dialer{}.Upgrade(conn, to)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", nick, errors.Join(err, conn.Close()))
	}
	if in == nil { // nothing follows the handshake
		in = bufio.NewReader(conn)
	}
	p := &person{nick: nick, conn: conn, more: make(chan struct{}), ended: make(chan struct{})}
	go p.listen(in) // ends with the connection
	return p, nil
}

func meet(t *testing.T, s *service, nick string) *person {
	t.Helper()
	p, err := dial(s.addr, nick)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.hangUp)
	return p
}

func (p *person) hangUp() {
	p.conn.Close()
	<-p.ended
}

func (p *person) listen(in *bufio.Reader) {
	defer close(p.ended)
	defer p.conn.Close()
	for {
		f, err := ws.ReadFrame(in)
		p.hear(f, err)
		if err != nil {
			return
		}
		if f.Header.OpCode == ws.OpClose && !p.leaving.Load() {
			_ = p.write(frame(ws.OpClose, true, string(f.Payload))) // the server may be gone
		}
	}
}

func (p *person) hear(f ws.Frame, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.err = err
	case f.Header.OpCode == ws.OpText:
		p.heard = append(p.heard, string(f.Payload))
		if bytes.Contains(f.Payload, []byte(" "+p.nick+": ")) {
			p.own++
		}
	case f.Header.OpCode == ws.OpPong:
		p.pong = string(f.Payload)
	case f.Header.OpCode == ws.OpClose:
		p.code, _ = ws.ParseCloseFrameData(f.Payload)
	}
	close(p.more)
	p.more = make(chan struct{})
}

// await waits until enough returns true.
func (p *person) await(enough func() bool) error {
	for {
		p.mu.Lock()
		done, n, code, err, more := enough(), len(p.heard), p.code, p.err, p.more
		p.mu.Unlock()
		if done {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s is cut off after %d messages (close frame: %d): %w",
				p.nick, n, code, err)
		}
		<-more
	}
}

// awaitOwn waits until all own messages have come back.
func (p *person) awaitOwn() error {
	return p.await(func() bool { return p.own >= p.sent })
}

// awaitClose waits until the server has closed the connection, and expects a close frame with code.
func (p *person) awaitClose(code ws.StatusCode) error {
	<-p.ended
	if p.code != code || p.err != io.EOF {
		return fmt.Errorf("%s is told %d, and then %v; want %d", p.nick, p.code, p.err, code)
	}
	return nil
}

// leave closes the connection with a handshake.
func (p *person) leave() error {
	p.leaving.Store(true)
	bye := frame(ws.OpClose, true, "\x03\xe8")
	return errors.Join(p.write(bye), p.awaitClose(ws.StatusNormalClosure))
}

func frame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

func (p *person) write(b []byte) error {
	_, err := p.conn.Write(b)
	return err
}

// next returns the text of the next message: a number, and every third time much more.
func (p *person) next() string {
	p.sent++
	return fmt.Sprint(p.sent, " ", strings.Repeat("x", p.sent%3/2*3000))
}

// A manner is a way to say something. A person who does so in two parts continues when pause is
// closed.
type manner func(p *person, pause <-chan struct{}) error

var manners = []manner{whole, inPieces, inFragments, withPings, severalAtOnce}

func whole(p *person, _ <-chan struct{}) error { return p.write(frame(ws.OpText, true, p.next())) }

// inPieces cuts a frame in its header or payload, and sends the first part in pieces.
func inPieces(p *person, pause <-chan struct{}) error {
	b := frame(ws.OpText, true, p.next())
	cut := []int{1, 3, 6, len(b) / 2, len(b) - 1}[p.sent%5]
	for piece := range slices.Chunk(b[:cut], 1+cut/2) {
		if err := p.write(piece); err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // so that the piece is sent alone
	}
	<-pause
	return p.write(b[cut:])
}

// inFragments pauses between the fragments of a message.
func inFragments(p *person, pause <-chan struct{}) error {
	text := p.next()
	if err := p.write(frame(ws.OpText, false, text[:1])); err != nil {
		return err
	}
	<-pause
	if err := p.ping(); err != nil {
		return err
	}
	return p.write(frame(ws.OpContinuation, true, text[1:]))
}

func withPings(p *person, pause <-chan struct{}) error {
	if err := p.ping(); err != nil {
		return err
	}
	return whole(p, pause)
}

// ping expects a pong with its payload.
func (p *person) ping() error {
	payload := fmt.Sprint(p.nick, p.sent)
	if err := p.write(frame(ws.OpPing, true, payload)); err != nil {
		return err
	}
	return p.await(func() bool { return p.pong == payload })
}

// severalAtOnce sends several messages without waiting for one to come back.
func severalAtOnce(p *person, _ <-chan struct{}) error {
	var all []byte
	for range 5 {
		all = append(all, frame(ws.OpText, true, p.next())...)
	}
	return p.write(all)
}
