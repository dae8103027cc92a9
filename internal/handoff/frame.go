package handoff

import (
	"encoding/binary"
	"fmt"
)

// These bound a frame, in bytes. Some messages have an entry for each socket; the others are short.
const (
	headerLen  = 5 // length and type
	maxLong    = 16 << 20
	maxMessage = 64 << 10
	maxOpen    = MaxTransferState + 12<<10 // of Offers, with the names
	maxReason  = 32 << 10
	maxRefusal = 512 // of the reason in an Answer
)

// These bound the lists of a message. A short element takes far more memory than bytes.
const (
	MaxSockets     = 1 << 17
	MaxExtras      = 1 << 16
	MaxEnviron     = 1 << 17
	MaxGenerations = 1 << 12
)

func maxBody(k kind) int {
	switch k {
	case kindHello, kindCommit, kindDrained:
		return maxLong
	case kindOffers:
		return maxOpen
	}
	return maxMessage
}

// Reason returns the text of err, shortened to fit into a message.
func Reason(err error) string { return shorten(err.Error(), maxReason) }

// Refusal returns an answer with the text of err, shortened so that many fit into a message.
func Refusal(err error) Answer { return Answer{Reason: shorten(err.Error(), maxRefusal)} }

func shorten(text string, n int) string {
	if len(text) > n {
		return text[:n] + "..."
	}
	return text
}

// encode returns the frame of a message, or an error if it would be too long.
func encode(m Message) ([]byte, error) {
	e := &encoder{buf: make([]byte, headerLen, 256)}
	m.encode(e)
	body := len(e.buf) - headerLen
	if body > maxBody(m.kind()) {
		return nil, fmt.Errorf("%w: %s would have %d bytes, and at most %d are allowed",
			ErrProtocol, Name(m), body, maxBody(m.kind()))
	}
	binary.BigEndian.PutUint32(e.buf, uint32(body+1))
	e.buf[4] = byte(m.kind())
	return e.buf, nil
}

// frameLen reads the length of the frame at the start of b, which has at least a header.
func frameLen(b []byte) (int, error) {
	k := kind(b[4])
	if newMessage(k) == nil {
		return 0, fmt.Errorf("%w: message of the unknown type %q: "+
			"the other process has another version of grace", ErrProtocol, byte(k))
	}
	length := binary.BigEndian.Uint32(b)
	if length < 1 || uint64(length) > uint64(maxBody(k))+1 {
		return 0, fmt.Errorf("%w: message of type %q has a length of %d, "+
			"and at most %d are allowed", ErrProtocol, byte(k), length, maxBody(k)+1)
	}
	return headerLen - 1 + int(length), nil
}

// decode reads a whole frame.
func decode(frame []byte) (Message, error) {
	m := newMessage(kind(frame[4]))
	if err := decodeFields(string(frame[headerLen:]), m.set); err != nil {
		return nil, fmt.Errorf("%w: body of %s: %w", ErrProtocol, Name(m), err)
	}
	if h, ok := m.(*Hello); ok && h.Version != Version {
		return nil, fmt.Errorf("%w: the old process speaks version %d of the handoff protocol, "+
			"and this one version %d: stop the service and start it again",
			ErrProtocol, h.Version, Version)
	}
	return m, nil
}
