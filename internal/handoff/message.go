// Package handoff is the conversation between two generations of a service: which messages there are, how they travel, and
// how the successor finds its end of the connection.
//
//	old                                          new
//	Hello                                  -->   (starts, claims its sockets)
//	                                       <--   Ready, or Failed
//	Accept, if there is a probation        -->   (both accept connections)
//	                                       <--   Failed, if it thinks better of it
//	Commit, or Abort                       -->
//	                                       <--   Serving, or Failed
//	                                       <--   Leave, if the drain has to end
//	Drained                                -->
//	(end of file when it exits)
//
// Hello is sent before the successor is started: so that can take over from its first instruction on, if the old process dies.
//
// Descriptors do not travel in these messages: the successor is started with them. After the sockets comes its end of the link, and
// after that what Hello describes as [Passed]. Among these is the end of the link to each older generation that still drains:
// the one that serves hears the last words of all of them. The others are the application's own: its files, and its states in
// the file of package state. And there is a second link, for the connections that the old process transfers one by one while it
// drains: see [Offer].
//
// A message is a frame: four bytes with the length of what follows, most significant first; one byte for the type; the fields,
// see codec.go. Unknown fields are ignored, so that fields can be added; anything else that a peer does not know needs a new
// [Version].
//
// The package knows what is said, not what follows from it; that is for package grace.
package handoff

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// Version of the conversation. Both sides must have the same.
const Version = 1

// ErrProtocol is matched by every error about bytes that are no message, or a message that does not belong where it came.
var ErrProtocol = errors.New("handoff protocol violated")

// Message is one of the structs of this file.
type Message interface {
	kind() kind
	// encode appends the fields, each with a tag; those that are zero can be left out.
	encode(*encoder)
	// set reads one field. It ignores a tag that it does not know.
	set(tag byte, value decoder)
}

// kind is the type byte of a frame.
type kind byte

const (
	kindHello   kind = 'H'
	kindReady   kind = 'R'
	kindFailed  kind = 'F'
	kindCommit  kind = 'C'
	kindAccept  kind = 'T'
	kindServing kind = 'S'
	kindAbort   kind = 'A'
	kindDrained kind = 'D'
	kindLeave   kind = 'L'

	// Of a link for transfers, see transfer.go.
	kindOffer    kind = 'O'
	kindTaken    kind = 'Y'
	kindRefused  kind = 'N'
	kindRevoked  kind = 'V'
	kindRedirect kind = 'I'
)

// Hello tells the successor who it is and what it was given.
type Hello struct {
	Version    int
	PID        int    // of the old process
	Generation int    // of the successor
	Handoff    string // identifies this handoff in the logs of both
	// Timeout is how long the old process waits for Ready, from when it sent this.
	Timeout time.Duration
	// Drain is how long the old process may drain, once the successor serves.
	Drain time.Duration
	// Sockets describes the passed sockets, in their order.
	Sockets []fds.Record
	// Passed describes the descriptors after the link, in their order.
	Passed []Passed
}

// Use is what a passed descriptor is for.
type Use int

// The uses.
const (
	UseProcess   Use = iota + 1 // refers to the process PID: the old one, or the one of the link before it
	UseLink                     // the link to an older generation that still drains
	UseFile                     // a file or connection that the application has passed as Name
	UseState                    // the file of the application's states, see package state
	UseTransfers                // the link over which the old process transfers connections while it drains, see transfer.go
)

// Passed describes a descriptor that is neither a socket of the service nor the link.
type Passed struct {
	Use             Use
	PID, Generation int
	Name            string // of a file
	Legacy          bool   // the older generation speaks the protocol of facebookgo/grace: its link has ended from the start
}

// Ready says that the successor can serve. It waits for Commit or Abort.
type Ready struct{}

// Failed says that the successor will not serve, and why. It then exits.
type Failed struct {
	Reason string
}

// Accept tells the successor to accept connections, beside the old process, until it hears Commit or Abort.
type Accept struct {
	Probation time.Duration // that Commit comes after
}

// Commit tells the successor to serve, and to follow older generations instead of the old process. Those of the passed links
// that are not among them have ended.
type Commit struct {
	Followed []Followed
}

// Followed is how far the old process has followed an older generation.
type Followed struct {
	Generation int
	Left       time.Duration // that it may still drain
	Heard      string        // what was read from its link: the next reader begins with that
}

// Serving acknowledges Commit. The old process stays able to serve until it has read this.
type Serving struct{}

// Abort tells the successor that the old process serves on. The successor must exit.
type Abort struct {
	Reason string
}

// Drained says that the old process has finished its work and is about to exit.
type Drained struct {
	Duration time.Duration
	Error    string // of the drain hooks
	Cut      []Cut  // connections that were still open
}

// Cut counts connections that end with their process.
type Cut struct {
	Socket      string // that has accepted them
	Connections int
}

// Leave tells a process that drains to finish at once.
type Leave struct {
	Reason string
}

func (*Hello) kind() kind   { return kindHello }
func (*Ready) kind() kind   { return kindReady }
func (*Failed) kind() kind  { return kindFailed }
func (*Commit) kind() kind  { return kindCommit }
func (*Serving) kind() kind { return kindServing }
func (*Abort) kind() kind   { return kindAbort }
func (*Drained) kind() kind { return kindDrained }
func (*Accept) kind() kind  { return kindAccept }
func (*Leave) kind() kind   { return kindLeave }

func (*Ready) encode(*encoder)     {}
func (*Ready) set(byte, decoder)   {}
func (*Serving) encode(*encoder)   {}
func (*Serving) set(byte, decoder) {}

func (m *Hello) encode(e *encoder) {
	e.int(1, m.Version)
	e.int(2, m.PID)
	e.int(3, m.Generation)
	e.string(4, m.Handoff)
	e.duration(5, m.Timeout)
	for i := range m.Sockets {
		e.nested(6, func(e *encoder) { encodeRecord(e, &m.Sockets[i]) })
	}
	e.duration(7, m.Drain)
	for i := range m.Passed {
		e.nested(8, m.Passed[i].encode)
	}
}

func (m *Hello) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Version = value.int()
	case 2:
		m.PID = value.int()
	case 3:
		m.Generation = value.int()
	case 4:
		m.Handoff = value.string()
	case 5:
		m.Timeout = value.duration()
	case 6:
		var r fds.Record
		value.fields(func(tag byte, value decoder) { setRecord(&r, tag, value) })
		m.Sockets = append(m.Sockets, r)
	case 7:
		m.Drain = value.duration()
	case 8:
		var p Passed
		value.fields(p.set)
		m.Passed = append(m.Passed, p)
	}
}

func (p *Passed) encode(e *encoder) {
	e.int(1, int(p.Use))
	e.int(2, p.PID)
	e.int(3, p.Generation)
	e.string(4, p.Name)
	e.bool(5, p.Legacy)
}

func (p *Passed) set(tag byte, value decoder) {
	switch tag {
	case 1:
		p.Use = Use(value.int())
	case 2:
		p.PID = value.int()
	case 3:
		p.Generation = value.int()
	case 4:
		p.Name = value.string()
	case 5:
		p.Legacy = value.bool()
	}
}

func (m *Commit) encode(e *encoder) {
	for i := range m.Followed {
		e.nested(1, m.Followed[i].encode)
	}
}

func (m *Commit) set(tag byte, value decoder) {
	if tag == 1 {
		var f Followed
		value.fields(f.set)
		m.Followed = append(m.Followed, f)
	}
}

func (f *Followed) encode(e *encoder) {
	e.int(1, f.Generation)
	e.duration(2, f.Left)
	e.string(3, f.Heard)
}

func (f *Followed) set(tag byte, value decoder) {
	switch tag {
	case 1:
		f.Generation = value.int()
	case 2:
		f.Left = value.duration()
	case 3:
		f.Heard = value.string()
	}
}

func encodeRecord(e *encoder, r *fds.Record) {
	e.string(1, r.Name)
	e.string(2, r.Network)
	e.string(3, r.Address)
	e.int(4, r.Ordinal)
	e.bool(5, r.Given)
	e.string(6, r.File)
}

func setRecord(r *fds.Record, tag byte, value decoder) {
	switch tag {
	case 1:
		r.Name = value.string()
	case 2:
		r.Network = value.string()
	case 3:
		r.Address = value.string()
	case 4:
		r.Ordinal = value.int()
	case 5:
		r.Given = value.bool()
	case 6:
		r.File = value.string()
	}
}

func (m *Accept) encode(e *encoder) { e.duration(1, m.Probation) }

func (m *Accept) set(tag byte, value decoder) {
	if tag == 1 {
		m.Probation = value.duration()
	}
}

func (m *Failed) encode(e *encoder) { e.string(1, m.Reason) }

func (m *Failed) set(tag byte, value decoder) {
	if tag == 1 {
		m.Reason = value.string()
	}
}

func (m *Abort) encode(e *encoder) { e.string(1, m.Reason) }

func (m *Abort) set(tag byte, value decoder) {
	if tag == 1 {
		m.Reason = value.string()
	}
}

func (m *Leave) encode(e *encoder) { e.string(1, m.Reason) }

func (m *Leave) set(tag byte, value decoder) {
	if tag == 1 {
		m.Reason = value.string()
	}
}

func (m *Drained) encode(e *encoder) {
	e.duration(1, m.Duration)
	e.string(2, m.Error)
	for i := range m.Cut {
		e.nested(3, m.Cut[i].encode)
	}
}

func (m *Drained) set(tag byte, value decoder) {
	switch tag {
	case 1:
		m.Duration = value.duration()
	case 2:
		m.Error = value.string()
	case 3:
		var c Cut
		value.fields(c.set)
		m.Cut = append(m.Cut, c)
	}
}

func (c *Cut) encode(e *encoder) {
	e.string(1, c.Socket)
	e.int(2, c.Connections)
}

func (c *Cut) set(tag byte, value decoder) {
	switch tag {
	case 1:
		c.Socket = value.string()
	case 2:
		c.Connections = value.int()
	}
}

// blank gives an empty message of the kind, or nil if there is none.
func blank(k kind) Message {
	switch k {
	case kindHello:
		return &Hello{}
	case kindReady:
		return &Ready{}
	case kindFailed:
		return &Failed{}
	case kindCommit:
		return &Commit{}
	case kindServing:
		return &Serving{}
	case kindAbort:
		return &Abort{}
	case kindDrained:
		return &Drained{}
	case kindAccept:
		return &Accept{}
	case kindLeave:
		return &Leave{}
	}
	return blankTransfer(k)
}

// Name of a message, for errors.
func Name(m Message) string {
	return string(bytes.TrimPrefix(fmt.Appendf(nil, "%T", m), []byte("*handoff.")))
}
