package fds

import (
	"errors"
	"fmt"
	"syscall"
)

// ExplainLimit adds to an error that matches EMFILE or ENFILE which limit on descriptors to raise.
// It returns any other error as it is.
func ExplainLimit(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w: this process has reached its limit on open files: "+
			"raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE= of systemd)", err)
	case errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%w: the system has reached its limit on open files: "+
			"raise fs.file-max", err)
	}
	return err
}
