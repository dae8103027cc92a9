//go:build !unix || solaris || aix

package pidfile

import (
	"errors"
	"os"
)

const (
	openHarmless  = 0
	openDirectory = 0
)

// tryLock always fails on this platform.
func tryLock(*os.File) error { return errors.ErrUnsupported }
