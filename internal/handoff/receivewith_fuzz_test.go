//go:build linux

package handoff

import (
	"errors"
	"io"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// maxRights is more than the kernel takes with one message.
const maxRights = 255

// FuzzReceiveWith sends any bytes, with descriptors at two of them. Only those that the receiver
// returns stay open.
func FuzzReceiveWith(f *testing.F) {
	var all []byte
	for _, m := range messages() {
		b, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(0), uint8(1), uint16(len(b)-1), uint8(1))
		all = append(all, b...)
	}
	f.Add(all, uint16(0), uint8(1), uint16(len(frameOf('X'))), uint8(0))
	f.Add(all, uint16(1), uint8(5), uint16(2), uint8(2))
	many, err := encode(&Offers{Offers: make([]Offer, MaxOffers)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(many, uint16(0), uint8(MaxOffers), uint16(0), uint8(MaxOffers))
	for _, tt := range badFrames {
		f.Add(tt.frame, uint16(0), uint8(1), uint16(4), uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, n uint8, at2 uint16, n2 uint8) {
		theirs, ours := pair(t)
		p := newParcel(t)
		written := make(chan struct{})
		go func() { // ends when all is written, or this side is closed
			defer close(written)
			writeWithRights(theirs, b, int(p.w.Fd()),
				map[int]int{int(at): int(n % maxRights), int(at2): int(n2 % maxRights)})
			_ = theirs.Close()
		}()
		messages, err := 0, error(nil)
		for ; err == nil; messages++ {
			m, files, e := ours.ReceiveWith(within(t))
			if err = e; files == nil {
				continue
			}
			if m == nil || len(files) > descriptors(m) {
				t.Errorf("%d descriptors came with %v, %v", len(files), m, err)
			}
			_ = CloseAll(files)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrProtocol) {
			t.Errorf("%v matches neither io.EOF nor ErrProtocol", err)
		}
		if messages > 1+len(b)/headerLen {
			t.Errorf("%d bytes were %d messages", len(b), messages)
		}
		_ = ours.Close()
		<-written
		p.isGone(t)
	})
}

// writeWithRights writes bytes, with at[i] copies of a descriptor at byte i.
func writeWithRights(l *Link, b []byte, fd int, at map[int]int) {
	var oob []byte
	for from, i := 0, 0; i <= len(b); i++ {
		if i < len(b) && at[i] == 0 {
			continue
		}
		n, _, err := l.conn.WriteMsgUnix(b[from:i], oob, nil)
		if err == nil {
			_, err = l.conn.Write(b[from+n : i])
		}
		if err != nil {
			return
		}
		from, oob = i, unix.UnixRights(slices.Repeat([]int{fd}, at[i])...)
	}
}
