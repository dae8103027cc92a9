package gracehttp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// appendFrame appends a frame.
func appendFrame(b []byte, kind, flags byte, stream uint32, payload string) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// seen returns what frames finds if the bytes arrive in pieces of at most the given size.
func seen(f *frames, b []byte, size int) (all []string) {
	for piece := range slices.Chunk(b, size) {
		f.follow(piece, func(f *frame) {
			kept := min(f.length(), frameStart)
			all = append(all, fmt.Sprintf("%d %v %d %d %q",
				f.kind(), f.has(endStreamFlag), f.stream(), f.length(), f.payload()[:kept]))
		})
	}
	return all
}

// The same frames are found in whatever pieces they arrive.
func TestFrames(t *testing.T) {
	var b []byte
	b = appendFrame(b, 4, 0, 0, "")
	b = appendFrame(b, headersFrame, endHeadersFlag|endStreamFlag, 1<<31|7, "abc")
	b = appendFrame(b, pingFrame, 0, 0, "12345678")
	b = appendFrame(b, dataFrame, 0, 7, string(bytes.Repeat([]byte("x"), 70_000)))
	b = appendFrame(b, goAwayFrame, 0, 0, "\x80\x00\x00\x09\x00\x00\x00\x00why")
	want := []string{
		`4 false 0 0 ""`, `1 true 7 3 "abc"`, `6 false 0 8 "12345678"`, `0 false 7 70000 "xxxxxxxx"`,
		`7 false 0 11 "\x80\x00\x00\t\x00\x00\x00\x00"`,
	}
	for _, size := range []int{1, 2, 8, 9, 10, 16, 17, 18, 4096, len(b)} {
		var f frames
		if got := seen(&f, b, size); !slices.Equal(got, want) || !f.isBetween() {
			t.Errorf("in pieces of %d bytes: %q, between two: %v", size, got, f.isBetween())
		}
		f.follow(b[:12], func(*frame) {})
		if f.isBetween() {
			t.Errorf("after pieces of %d bytes, the inside of a frame is taken for its end", size)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, headersFrame, 0, 1, "ab"), dataFrame, endStreamFlag, 1, ""), 3)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if len(b) == 0 || size <= 0 {
			return
		}
		var whole, pieces frames
		want, got := seen(&whole, b, len(b)), seen(&pieces, b, size)
		if !slices.Equal(got, want) || whole != pieces {
			t.Errorf("%q in pieces of %d bytes, want %q", got, size, want)
		}
	})
}
