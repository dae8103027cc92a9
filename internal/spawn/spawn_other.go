//go:build !linux || !(amd64 || arm64)

package spawn

import (
	"context"
	"errors"
)

// Child is a process that is about to execute its program.
type Child struct{ PID int }

// Start returns [errors.ErrUnsupported].
func Start(Program) (*Child, error) { return nil, errors.ErrUnsupported }

// Wait is never called.
func (c *Child) Wait(context.Context) error { return errors.ErrUnsupported }
