package gracehttp

import "encoding/binary"

// The frames of HTTP/2 that matter here (RFC 9113, section 6), and their flags.
const (
	dataFrame         = 0x0
	headersFrame      = 0x1
	resetFrame        = 0x3
	pushPromiseFrame  = 0x5
	pingFrame         = 0x6
	goAwayFrame       = 0x7
	continuationFrame = 0x9

	ackFlag        = 0x1
	endStreamFlag  = 0x1
	endHeadersFlag = 0x4
)

const (
	frameHeader = 9 // bytes
	frameStart  = 8 // bytes of the payload that are kept
)

// frame is the header of a frame and the start of its payload.
type frame [frameHeader + frameStart]byte

func (f *frame) length() int        { return int(f[0])<<16 | int(f[1])<<8 | int(f[2]) }
func (f *frame) kind() byte         { return f[3] }
func (f *frame) has(flag byte) bool { return f[4]&flag != 0 }
func (f *frame) stream() uint32     { return streamID(f[5:]) }
func (f *frame) payload() []byte    { return f[frameHeader:] }
func (f *frame) size() int          { return frameHeader + f.length() }
func streamID(b []byte) uint32      { return binary.BigEndian.Uint32(b) &^ (1 << 31) }

// frames finds the frames in a stream of bytes. The zero value is at the start of a frame.
type frames struct {
	frame
	kept int // bytes of the frame that are in it
	past int // bytes of the frame that have gone by
}

// follow consumes bytes, and calls ended at the end of each frame.
func (f *frames) follow(b []byte, ended func(*frame)) {
	for len(b) > 0 {
		n, isEnd := f.next(b)
		if isEnd {
			ended(&f.frame)
		}
		b = b[n:]
	}
}

// next consumes bytes up to the end of a frame, and returns their number.
func (f *frames) next(b []byte) (n int, isEnd bool) {
	if f.isBetween() {
		f.kept, f.past = 0, 0
	}
	for n < len(b) && f.kept < f.wanted() {
		k := copy(f.frame[f.kept:f.wanted()], b[n:])
		f.kept += k
		n += k
	}
	f.past += n
	if f.kept < f.wanted() {
		return n, false
	}
	rest := min(len(b)-n, f.size()-f.past)
	f.past += rest
	return n + rest, f.past == f.size()
}

// wanted returns how many bytes of the present frame are to be kept, as far as that is known.
func (f *frames) wanted() int {
	if f.kept < frameHeader {
		return frameHeader
	}
	return frameHeader + min(f.length(), frameStart)
}

// isBetween reports whether a frame has ended and no other one has begun.
func (f *frames) isBetween() bool { return f.kept >= frameHeader && f.past == f.size() }
