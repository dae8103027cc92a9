//go:build unix

package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// format is what the beginning of a file says about how it is executed.
type format struct {
	script bool
	// machine is the class, the byte order and the processor of an ELF file, "" for others.
	machine string
	// interpreter is the program after "#!", or the dynamic loader of an ELF file (PT_INTERP). It
	// is "" if there is none.
	interpreter string
}

// What is read of a file: see execve(2) for the first line of a script, elf(5) for the others.
const (
	maxFirstLine = 255
	maxHeaders   = 1 << 10 // program headers
	maxPath      = 4096
)

var errFormat = errors.New("the file is damaged")

func readFormat(path string) (format, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would wait
	if err != nil {
		return format{}, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	return parseFormat(f)
}

func parseFormat(f io.ReaderAt) (format, error) {
	head := make([]byte, maxFirstLine)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return format{}, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return format{script: true, interpreter: scriptInterpreter(head)}, nil
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return readELF(f, head)
	}
	return format{}, nil
}

// scriptInterpreter returns the first word after "#!".
func scriptInterpreter(head []byte) string {
	line, _, _ := strings.Cut(string(head[2:]), "\n")
	word, _, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	word, _, _ = strings.Cut(word, "\t")
	return word
}

// elfLayout has the offsets of what is read, in bytes: in the header of the file the place, size
// and number of the program headers; in one of these the place and size of what it describes.
type elfLayout struct {
	word                       int // bytes of an address
	place, size, count         int
	segmentPlace, segmentBytes int
}

var elfLayouts = map[byte]elfLayout{
	1: {word: 4, place: 28, size: 42, count: 44, segmentPlace: 4, segmentBytes: 16},
	2: {word: 8, place: 32, size: 54, count: 56, segmentPlace: 8, segmentBytes: 32},
}

func readELF(f io.ReaderAt, head []byte) (format, error) {
	if len(head) < 64 {
		return format{}, errFormat
	}
	layout, ok := elfLayouts[head[4]]
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	if !ok {
		return format{}, errFormat
	}
	result := format{machine: string(head[4:6]) + string(head[18:20])}
	place := layout.address(order, head[layout.place:])
	size, count := int64(order.Uint16(head[layout.size:])), order.Uint16(head[layout.count:])
	if size < int64(layout.segmentBytes+layout.word) || count > maxHeaders {
		return result, nil // no program
	}
	header := make([]byte, layout.segmentBytes+layout.word)
	for i := range int64(count) {
		if _, err := f.ReadAt(header, place+i*size); err != nil {
			return result, errFormat
		}
		const interp = 3 // PT_INTERP
		if order.Uint32(header) == interp {
			var err error
			result.interpreter, err = readPath(f,
				layout.address(order, header[layout.segmentPlace:]),
				layout.address(order, header[layout.segmentBytes:]))
			return result, err
		}
	}
	return result, nil
}

func (l elfLayout) address(order binary.ByteOrder, b []byte) int64 {
	if l.word == 4 {
		return int64(order.Uint32(b))
	}
	return int64(order.Uint64(b))
}

// readPath reads a path that ends with a zero byte.
func readPath(f io.ReaderAt, place, size int64) (string, error) {
	if size < 1 || size > maxPath {
		return "", errFormat
	}
	text := make([]byte, size)
	if _, err := f.ReadAt(text, place); err != nil {
		return "", errFormat
	}
	path, _, _ := strings.Cut(string(text), "\x00")
	return path, nil
}
