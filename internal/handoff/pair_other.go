//go:build !unix

package handoff

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Pair always fails: no descriptor can be passed to a process on this platform.
func Pair() (*Link, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Announce is never called on this platform.
func Announce(int, int) string { return "" }

// TakeLink finds no link on this platform.
func TakeLink(int) (*Link, []*os.File, error) { return nil, nil, nil }

// Expected always returns false on this platform.
func Expected() bool { return false }

// Ended always fails on this platform.
func Ended() (*Link, error) { return nil, errors.ErrUnsupported }

// NewLink always fails on this platform, and closes the file.
func NewLink(f *os.File) (*Link, error) {
	return nil, errors.Join(errors.ErrUnsupported, f.Close())
}

// IsEnd reports whether an error of a link means that the other process has closed its end.
func IsEnd(err error) bool { return errors.Is(err, io.EOF) }

func writeNow(syscall.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func readNow(syscall.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Ignore does nothing: there is no link on this platform.
func Ignore() bool { return false }
