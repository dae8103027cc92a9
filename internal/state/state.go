// Package state is the file in which the named states of a process travel to its successor.
//
// The old process writes one state after another with a [Writer], and passes the descriptor of the finished file. The new
// process verifies all of it in [Open], and reads a state when it is asked for: neither holds more than one state in memory,
// beside the file. On Linux the file is in memory too, and sealed: from then on nobody can change it. Elsewhere, and where
// the system refuses that, it is a temporary file without a name.
//
// The file has a header: the magic bytes, a byte with the version, and the number of sections, as four bytes. A section has
// a head: the length of the name (two bytes), that of the data (eight bytes), and a CRC-32C of both lengths, the name and the
// data (four bytes); then the name; then the data. Numbers have their most significant byte first. Nothing follows the last
// section.
package state

import (
	"errors"
	"fmt"
	"hash/crc32"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a file may have.
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

// CheckName says what is wrong with a name.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the name %.40q... has %d bytes, and may have %d", name, len(name), MaxName)
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
