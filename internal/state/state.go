// Package state is the file in which the named states of a process travel to its successor.
//
// The old process writes one state after another with a [Writer] and passes the descriptor of the
// finished file. The new process verifies the whole file in [Open] and reads a state when it is
// asked for. Apart from the file, neither process holds more than one state in memory. On Linux the
// file itself is in memory too, and sealed so that nobody can change it. If the system refuses
// that, or on other platforms, it is a temporary file without a name.
//
// The file begins with a header: the magic bytes, a byte with the version, and four bytes with the
// number of sections. Each section has a head, the name and the data. The head has the length of
// the name (two bytes), the length of the data (eight bytes), and a CRC-32C of both lengths, the
// name and the data (four bytes). Numbers have their most significant byte first. Nothing follows
// the last section.
package state

import (
	"errors"
	"fmt"
	"hash/crc32"
	"unicode"
	"unicode/utf8"
)

// These bound a file.
const (
	MaxName   = 255       // bytes of a name
	MaxState  = 64 << 20  // bytes of one state
	MaxStates = 1 << 10   // states
	MaxTotal  = 256 << 20 // bytes of all states
)

const (
	magic      = "gracest"
	version    = 1
	headerLen  = len(magic) + 1 + 4
	lengthsLen = 2 + 8
	headLen    = lengthsLen + 4
	maxFile    = headerLen + MaxStates*(headLen+MaxName) + MaxTotal
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CheckName returns an error unless name can be the name of a state.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the name %.40q... has %d bytes, more than the %d allowed",
			name, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not UTF-8", name)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the name %q has the character %q, which is not printable", name, r)
		}
	}
	return nil
}
