// Package handoff is the conversation between two generations of a service: which messages there are, how they travel, and
// how the successor finds its end of the connection.
//
//	old                                          new
//	Hello                                  -->   (starts, claims its sockets)
//	                                       <--   Ready, or Failed
//	Commit, or Abort                       -->
//	                                       <--   Serving, or Failed
//	Drained                                -->
//	(end of file when it exits)
//
// A message is a frame: four bytes with the length of what follows, most significant first; one byte for the type; the body
// in JSON. Unknown fields of a body are ignored, so that fields can be added; anything else that a peer does not know needs
// a new [Version].
//
// The package knows what is said, not what follows from it; that is for package grace.
package handoff

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
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
}

// kind is the type byte of a frame.
type kind byte

const (
	kindHello   kind = 'H'
	kindReady   kind = 'R'
	kindFailed  kind = 'F'
	kindCommit  kind = 'C'
	kindServing kind = 'S'
	kindAbort   kind = 'A'
	kindDrained kind = 'D'
)

// Hello tells the successor who it is and what it was given.
type Hello struct {
	Version    int    `json:"version"`
	PID        int    `json:"pid"`        // of the old process
	Generation int    `json:"generation"` // of the successor
	Handoff    string `json:"handoff"`    // identifies this handoff in the logs of both
	// Timeout is how long the old process waits for Ready, from when it sent this.
	Timeout time.Duration `json:"timeout"`
	// Sockets describes the passed descriptors, in their order.
	Sockets []fds.Record `json:"sockets"`
}

// Ready says that the successor can serve. It waits for Commit or Abort.
type Ready struct{}

// Failed says that the successor will not serve, and why. It then exits.
type Failed struct {
	Reason string `json:"reason"`
}

// Commit tells the successor to serve.
type Commit struct{}

// Serving acknowledges Commit. The old process stays able to serve until it has read this.
type Serving struct{}

// Abort tells the successor that the old process serves on. The successor must exit.
type Abort struct {
	Reason string `json:"reason"`
}

// Drained says that the old process has finished its work and is about to exit.
type Drained struct {
	Duration time.Duration `json:"duration"`
	Error    string        `json:"error,omitempty"` // of the drain hooks
}

func (*Hello) kind() kind   { return kindHello }
func (*Ready) kind() kind   { return kindReady }
func (*Failed) kind() kind  { return kindFailed }
func (*Commit) kind() kind  { return kindCommit }
func (*Serving) kind() kind { return kindServing }
func (*Abort) kind() kind   { return kindAbort }
func (*Drained) kind() kind { return kindDrained }

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
	}
	return nil
}

// Name of a message, for errors.
func Name(m Message) string {
	return string(bytes.TrimPrefix(fmt.Appendf(nil, "%T", m), []byte("*handoff.")))
}

// Bounds of a frame. A Hello has an entry for each socket; the others are short.
const (
	headerLen  = 5 // length and type
	maxHello   = 16 << 20
	maxMessage = 64 << 10
	maxReason  = 32 << 10
)

func maxBody(k kind) int {
	if k == kindHello {
		return maxHello
	}
	return maxMessage
}

// Reason shortens a text until it fits into a message.
func Reason(err error) string {
	text := err.Error()
	if len(text) > maxReason {
		text = text[:maxReason] + "..."
	}
	return text
}

// encode gives the frame of a message.
func encode(m Message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", Name(m), err)
	}
	if len(body) > maxBody(m.kind()) {
		return nil, fmt.Errorf("%w: %s would have %d bytes, more than %d", ErrProtocol, Name(m), len(body), maxBody(m.kind()))
	}
	frame := make([]byte, headerLen, headerLen+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)+1))
	frame[4] = byte(m.kind())
	return append(frame, body...), nil
}

// frameLen reads the length of the frame at the start of b, of which at least the header is there.
func frameLen(b []byte) (int, error) {
	k := kind(b[4])
	if blank(k) == nil {
		return 0, fmt.Errorf("%w: message of the unknown type %q: the other process has another version of grace", ErrProtocol, byte(k))
	}
	length := binary.BigEndian.Uint32(b)
	if length < 1 || uint64(length) > uint64(maxBody(k))+1 {
		return 0, fmt.Errorf("%w: message of type %q has a length of %d, and may have %d", ErrProtocol, byte(k), length, maxBody(k)+1)
	}
	return headerLen - 1 + int(length), nil
}

// decode reads a whole frame.
func decode(frame []byte) (Message, error) {
	m := blank(kind(frame[4]))
	if err := json.Unmarshal(frame[headerLen:], m); err != nil {
		return nil, fmt.Errorf("%w: body of %s: %w", ErrProtocol, Name(m), err)
	}
	if h, ok := m.(*Hello); ok && h.Version != Version {
		return nil, fmt.Errorf("%w: the old process speaks version %d of the handoff protocol, and this one version %d: stop the service and start it anew",
			ErrProtocol, h.Version, Version)
	}
	return m, nil
}
