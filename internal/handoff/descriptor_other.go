//go:build !linux

package handoff

import (
	"context"
	"errors"
	"os"
	"syscall"
)

// TransferPair makes no link here. CloseRead would drop what was sent before: the old process could not know what was taken.
func TransferPair() (*Link, *os.File, error) { return nil, nil, nil }

// CloseRead is not reached here.
func (l *Link) CloseRead() {}

// SendWith is not reached here.
func (l *Link) SendWith(context.Context, Message, syscall.Conn) error { return errors.ErrUnsupported }

// ReceiveWith is not reached here.
func (l *Link) ReceiveWith(context.Context) (Message, *os.File, error) {
	return nil, nil, errors.ErrUnsupported
}
