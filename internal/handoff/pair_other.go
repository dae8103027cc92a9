//go:build !unix

package handoff

import (
	"errors"
	"io"
	"os"
)

// Pair makes no link here: a process cannot be given one.
func Pair() (*Link, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Announce is not reached here.
func Announce(int) string { return "" }

// TakeLink finds no link here.
func TakeLink() (*Link, error) { return nil, nil }

// Unannounced has nothing to remove here.
func Unannounced(env []string) []string { return env }

func isEnd(err error) bool { return errors.Is(err, io.EOF) }
