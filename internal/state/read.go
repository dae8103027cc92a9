package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
)

// File is a verified file of states.
type File struct {
	f        *os.File
	sections []section
}

// section locates a state in a file.
type section struct {
	name   string
	start  int64 // of the data
	length int64
	begun  uint32 // checksum of the section before the data
	sum    uint32
}

// Open verifies a file with all of its states, and takes it. After an error it is closed.
func Open(f *os.File) (*File, error) {
	sections, err := verify(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f: f, sections: sections}, nil
}

func verify(f *os.File) ([]section, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the descriptor is not a file: its mode is %v", info.Mode())
	}
	if err := checkSealed(f); err != nil {
		return nil, err
	}
	return parse(f, info.Size())
}

// parse locates the states in a file of the given size and verifies their checksums. It compares
// each length with the size of the file before it reads that many bytes.
func parse(r io.ReaderAt, size int64) ([]section, error) {
	if size > int64(maxFile) {
		return nil, fmt.Errorf("the file has %d bytes, more than the %d allowed", size, maxFile)
	}
	in := &reader{from: r, size: size}
	count, err := in.header()
	if err != nil {
		return nil, err
	}
	var sections []section
	var total int64
	for i := range count {
		s, err := in.section()
		if err != nil {
			return nil, fmt.Errorf("section %d of %d: %w", i+1, count, err)
		}
		if slices.ContainsFunc(sections, func(other section) bool { return other.name == s.name }) {
			return nil, fmt.Errorf("section %d of %d: there are two states %q", i+1, count, s.name)
		}
		if total += s.length; total > MaxTotal {
			return nil, fmt.Errorf("section %d of %d: with state %q all states have %d bytes, "+
				"more than the %d allowed", i+1, count, s.name, total, MaxTotal)
		}
		sections = append(sections, s)
	}
	if in.pos != size {
		return nil, fmt.Errorf("%d bytes follow the last section", size-in.pos)
	}
	return sections, nil
}

// reader reads a file from its start to its end.
type reader struct {
	from      io.ReaderAt
	pos, size int64
}

// next reads n bytes. Callers ask for few.
func (r *reader) next(n int) ([]byte, error) {
	if int64(n) > r.size-r.pos {
		return nil, fmt.Errorf("is cut off: %d bytes are needed at byte %d, and the file has %d",
			n, r.pos, r.size)
	}
	b := make([]byte, n)
	if err := readAt(r.from, b, r.pos); err != nil {
		return nil, err
	}
	r.pos += int64(n)
	return b, nil
}

// readAt fills b.
func readAt(from io.ReaderAt, b []byte, pos int64) error {
	n, err := from.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("is cut off: the file ends at byte %d: %w",
			pos+int64(n), io.ErrUnexpectedEOF)
	}
	return err
}

// header reads the header and returns the number of sections.
func (r *reader) header() (int, error) {
	b, err := r.next(headerLen)
	if err != nil {
		return 0, fmt.Errorf("the header %w", err)
	}
	if string(b[:len(magic)]) != magic {
		return 0, fmt.Errorf("this is not a file of states: it begins with %q", b[:len(magic)])
	}
	if v := b[len(magic)]; v != version {
		return 0, fmt.Errorf("the file has version %d of the format, and this process reads "+
			"version %d", v, version)
	}
	count := binary.BigEndian.Uint32(b[len(magic)+1:])
	if count > MaxStates {
		return 0, fmt.Errorf("the header announces %d states, more than the %d allowed",
			count, MaxStates)
	}
	return int(count), nil
}

// section reads a section and verifies its checksum.
func (r *reader) section() (section, error) {
	b, err := r.next(headLen)
	if err != nil {
		return section{}, fmt.Errorf("the head %w", err)
	}
	nameLen, length := binary.BigEndian.Uint16(b), binary.BigEndian.Uint64(b[2:])
	if nameLen > MaxName {
		return section{}, fmt.Errorf("the name has %d bytes, more than the %d allowed",
			nameLen, MaxName)
	}
	name, err := r.next(int(nameLen))
	if err != nil {
		return section{}, fmt.Errorf("the name %w", err)
	}
	if err := CheckName(string(name)); err != nil {
		return section{}, err
	}
	if length > MaxState {
		return section{}, fmt.Errorf("state %q has %d bytes, more than the %d allowed",
			name, length, MaxState)
	}
	if int64(length) > r.size-r.pos {
		return section{}, fmt.Errorf("state %q is cut off: it has %d bytes, and the file %d "+
			"after byte %d", name, length, r.size-r.pos, r.pos)
	}
	s := section{
		name: string(name), start: r.pos, length: int64(length),
		begun: headSum(b[:lengthsLen], string(name)), sum: binary.BigEndian.Uint32(b[lengthsLen:]),
	}
	r.pos += s.length
	return s, s.verify(r.from)
}

// verify compares the checksum, reading a part of the data at a time.
func (s section) verify(from io.ReaderAt) error {
	sum := s.begun
	buf := make([]byte, min(s.length, 128<<10))
	for pos := s.start; pos < s.start+s.length; pos += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.start+s.length-pos)]
		if err := readAt(from, buf, pos); err != nil {
			return fmt.Errorf("read state %q: %w", s.name, err)
		}
		sum = crc32.Update(sum, castagnoli, buf)
	}
	return s.check(sum)
}

func (s section) check(sum uint32) error {
	if sum != s.sum {
		return fmt.Errorf("state %q is damaged: its %d bytes have the checksum %08x "+
			"instead of %08x", s.name, s.length, sum, s.sum)
	}
	return nil
}

// Names returns the names of the states, in the order in which they were written.
func (s *File) Names() []string {
	names := make([]string, len(s.sections))
	for i, sec := range s.sections {
		names[i] = sec.name
	}
	return names
}

// Read reads the state with one of the Names. The caller owns the data.
func (s *File) Read(name string) ([]byte, error) {
	i := slices.IndexFunc(s.sections, func(sec section) bool { return sec.name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no state %q", name)
	}
	sec := s.sections[i]
	data := make([]byte, sec.length)
	if err := readAt(s.f, data, sec.start); err != nil {
		return nil, fmt.Errorf("read state %q: %w", name, err)
	}
	// A file that could not be sealed may have changed since.
	if err := sec.check(crc32.Update(sec.begun, castagnoli, data)); err != nil {
		return nil, err
	}
	return data, nil
}

// Close closes the file.
func (s *File) Close() error { return s.f.Close() }
