package generation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/wiring"
)

// Unwatched stands for a process that cannot be watched: the end of its connection stands in for
// its exit.
type Unwatched struct{}

// Gone returns a closed channel.
func (Unwatched) Gone() <-chan struct{} {
	gone := make(chan struct{})
	close(gone)
	return gone
}

// Signal returns an error.
func (Unwatched) Signal(syscall.Signal) error {
	return fmt.Errorf("there is no descriptor of the process, and it is not our parent: %w",
		errors.ErrUnsupported)
}

// State returns "".
func (Unwatched) State(context.Context) string { return "" }

// Close does nothing.
func (Unwatched) Close() {}

// WatchParent watches the parent of this process, of which only the number is known. It still being
// the parent once the watch has begun proves that the number has not gone to another process.
func WatchParent(pid int) wiring.Watched {
	w, err := process.Watch(pid)
	if err != nil {
		return Unwatched{}
	}
	if os.Getppid() != pid {
		w.Close()
		return Unwatched{}
	}
	return w
}
