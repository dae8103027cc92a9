package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// Writer writes a file of states.
type Writer struct {
	f     *os.File
	seal  func(*os.File) error
	names map[string]bool
	end   int64 // of what is written
	total int   // bytes of the states
}

// Create begins a file. The caller calls Finish, which returns the file, or Close.
func Create() (*Writer, error) {
	f, seal, err := create()
	if err != nil {
		return nil, err
	}
	return newWriter(f, seal), nil
}

// newWriter takes an empty file and the function that makes it unchangeable at the end.
func newWriter(f *os.File, seal func(*os.File) error) *Writer {
	return &Writer{f: f, seal: seal, names: make(map[string]bool), end: int64(headerLen)}
}

// Add writes a state. It does not keep the data.
func (w *Writer) Add(name string, data []byte) error {
	if err := w.check(name, data); err != nil {
		return err
	}
	w.names[name] = true
	w.total += len(data)
	if err := w.write(head(name, data)); err != nil {
		return fmt.Errorf("write state %q: %w", name, err)
	}
	if err := w.write(data); err != nil {
		return fmt.Errorf("write the %d bytes of state %q: %w", len(data), name, err)
	}
	return nil
}

func (w *Writer) check(name string, data []byte) error {
	switch err := CheckName(name); {
	case err != nil:
		return err
	case w.names[name]:
		return fmt.Errorf("there are two states %q", name)
	case len(w.names) == MaxStates:
		return fmt.Errorf("state %q is one more than the %d states allowed", name, MaxStates)
	case len(data) > MaxState:
		return fmt.Errorf("state %q has %d bytes, more than the %d allowed: pass a file instead",
			name, len(data), MaxState)
	case w.total+len(data) > MaxTotal:
		return fmt.Errorf("with the %d bytes of state %q all states have %d, "+
			"more than the %d allowed: pass a file instead",
			len(data), name, w.total+len(data), MaxTotal)
	}
	return nil
}

// head returns a section without its data.
func head(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, headLen+len(name)), uint16(len(name)))
	b = binary.BigEndian.AppendUint64(b, uint64(len(data)))
	b = binary.BigEndian.AppendUint32(b, crc32.Update(headSum(b, name), castagnoli, data))
	return append(b, name...)
}

// headSum returns the checksum of a section before its data.
func headSum(lengths []byte, name string) uint32 {
	return crc32.Update(crc32.Checksum(lengths, castagnoli), castagnoli, []byte(name))
}

func (w *Writer) write(b []byte) error {
	n, err := w.f.WriteAt(b, w.end)
	w.end += int64(n)
	return err
}

// Finish makes the file unchangeable, if the system can, and returns it. The caller owns it. After
// an error it is closed.
func (w *Writer) Finish() (*os.File, error) {
	header := append([]byte(magic), version)
	header = binary.BigEndian.AppendUint32(header, uint32(len(w.names)))
	_, err := w.f.WriteAt(header, 0)
	if err == nil {
		err = w.seal(w.f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("finish the file of states: %w", err), w.f.Close())
	}
	return w.f, nil
}

// Close abandons a file that is not finished.
func (w *Writer) Close() error { return w.f.Close() }

// tempFile makes a file without a name. It cannot be sealed, but only the two processes can reach
// it.
func tempFile() (*os.File, func(*os.File) error, error) {
	f, err := os.CreateTemp("", "grace-state-*")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, func(*os.File) error { return nil }, nil
}
