// Package handoff is the conversation between two generations of a service: its messages, how they
// travel, and how the successor finds its end of the connection.
//
//	old                                          new
//	Hello                                  -->   (starts, claims its sockets)
//	                                       <--   Ready, or Failed
//	Accept, if there is a probation        -->   (both accept connections)
//	                                       <--   Failed, if the probation fails
//	Commit, or Abort                       -->
//	                                       <--   Serving, or Failed
//	                                       <--   Leave, if the drain has to end
//	Drained                                -->
//	(end of file when it exits)
//
// Hello is sent before the successor is started, which can then take over from its first
// instruction on if the old process dies.
//
// Descriptors do not travel in these messages: the successor is started with them. Its end of the
// link follows the sockets, and the [ExtraFile] descriptors that Hello describes follow the link.
// They include the link to each older generation that still drains, because the generation that
// serves receives the last messages of all of them; the files of the application, and its states in
// the file of package state; and a second link, over which the old process transfers connections
// one by one while it drains: see [Offer].
//
// A message is a frame: four bytes with the length of the rest, most significant first; one byte
// for the type; and the fields, see codec.go. Unknown fields are ignored, so that fields can be
// added. Any other addition needs a new [Version].
//
// The package only transports messages; package grace acts on them.
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

// ErrProtocol is matched by every error about bytes that are not a message, or about an unexpected
// message.
var ErrProtocol = errors.New("handoff protocol violated")

// Message is one of the structs of this file and of transfer.go.
type Message interface {
	kind() kind
	// encode appends the fields, each with a tag. It leaves out zero fields.
	encode(*encoder)
	// set reads one field and ignores an unknown tag.
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

	// These belong to a link for transfers, see transfer.go.
	kindOffers   kind = 'M'
	kindAnswers  kind = 'W'
	kindRevoked  kind = 'V'
	kindCeded    kind = 'G'
	kindRedirect kind = 'I'
)

// Hello tells the successor which generation it is and which descriptors it has inherited.
type Hello struct {
	Version    int
	PID        int    // of the old process
	Generation int    // of the successor
	Handoff    string // identifies this handoff in the logs of both
	// Timeout is how long the old process waits for Ready, from when it sent Hello.
	Timeout time.Duration
	// Drain is how long the old process may drain, once the successor serves.
	Drain time.Duration
	// Sockets describes the inherited sockets, in their order.
	Sockets []fds.Record
	// Extras describes the descriptors after the link, in their order.
	Extras []ExtraFile
	// Environ is the environment of the first generation. It is nil if the successor is started
	// with the same, as it is unless WithEnv changes it.
	Environ []string
}

// Use says what an extra file is for.
type Use int

// The uses.
const (
	// UseProcess marks a descriptor of the process PID: the old one, or the one of the link before
	// it.
	UseProcess Use = iota + 1
	// UseLink marks the link to an older generation that still drains.
	UseLink
	// UseFile marks a file or connection that the application passes as Name.
	UseFile
	// UseState marks the file of the application's states, see package state.
	UseState
	// UseTransfers marks the link over which the old process transfers connections while it
	// drains, see transfer.go.
	UseTransfers
)

// ExtraFile describes an inherited descriptor that is neither a socket of the service nor the link.
type ExtraFile struct {
	Use             Use
	PID, Generation int
	Name            string // of a file
	// Legacy is set if the older generation speaks the protocol of facebookgo/grace. Its link is
	// closed.
	Legacy bool
}

// Ready says that the successor can serve. It waits for Commit or Abort.
type Ready struct{}

// Failed says that the successor will not serve, and why. It then exits.
type Failed struct {
	Reason string
}

// Accept tells the successor to accept connections beside the old process until it receives Commit
// or Abort.
type Accept struct {
	Probation time.Duration // after which Commit follows
}

// Commit tells the successor to serve, and to follow older generations instead of the old process.
// An older generation that is in Hello but not in Followed has ended.
type Commit struct {
	Followed []Followed
}

// Followed says how far the old process has followed an older generation.
type Followed struct {
	Generation int
	Left       time.Duration // for which it may still drain
	Heard      string        // bytes already read from its link: the next reader begins with them
}

// Serving acknowledges Commit. The old process can still serve until it has received Serving.
type Serving struct{}

// Abort tells the successor that the old process keeps serving. The successor must exit.
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
	Socket      string // that accepted them
	Connections int
}

// Leave tells a draining process to finish at once.
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

// newMessage returns an empty message of the kind, or nil if the kind is unknown.
func newMessage(k kind) Message {
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
	return newTransferMessage(k)
}

// Name returns the name of a message for errors.
func Name(m Message) string {
	return string(bytes.TrimPrefix(fmt.Appendf(nil, "%T", m), []byte("*handoff.")))
}
