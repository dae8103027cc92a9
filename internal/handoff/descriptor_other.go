//go:build !linux

package handoff

import (
	"context"
	"errors"
	"os"
)

// TransferPair makes no link here: CloseRead would drop the messages that were sent before, so the
// old process could not know which connections the successor took.
func TransferPair() (*Link, *os.File, error) { return nil, nil, nil }

// CloseRead is never called on this platform.
func (l *Link) CloseRead() {}

// Broken is never called on this platform.
func (l *Link) Broken() bool { return l.broken }

// SendWith is never called on this platform.
func (l *Link) SendWith(context.Context, Message, ...int) error {
	return errors.ErrUnsupported
}

// ReceiveWith is never called on this platform.
func (l *Link) ReceiveWith(context.Context) (Message, []*os.File, error) {
	return nil, nil, errors.ErrUnsupported
}
