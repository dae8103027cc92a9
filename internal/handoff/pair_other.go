//go:build !unix

package handoff

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Pair makes no link here: a process cannot be given one.
func Pair() (*Link, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Announce is not reached here.
func Announce(int, int) string { return "" }

// TakeLink finds no link here.
func TakeLink(int) (*Link, []*os.File, error) { return nil, nil, nil }

// Expected is always false here.
func Expected() bool { return false }

// Ended makes no link here.
func Ended() (*Link, error) { return nil, errors.ErrUnsupported }

// NewLink makes no link here.
func NewLink(f *os.File) (*Link, error) {
	return nil, errors.Join(errors.ErrUnsupported, f.Close())
}

// Unannounced has nothing to remove here.
func Unannounced(env []string) []string { return env }

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

func writeSome(syscall.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func readSome(syscall.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }
