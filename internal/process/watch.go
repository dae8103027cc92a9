package process

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Watched is a process that is not a child of this one, such as its parent.
type Watched struct {
	pid  int
	gone chan struct{}
	stop func()
}

// Watch begins to watch a process. The caller must know that the number still means the process it has in mind, for example
// because a connection to it is open when Watch has returned.
//
// On Linux the process is held by a descriptor, pidfd_open(2). Elsewhere, and before Linux 5.3, only the parent of this
// process can be watched, by whether it still is the parent: nothing else about another process can be known for sure.
func Watch(pid int) (*Watched, error) {
	if w := watchHandle(pid); w != nil {
		return w, nil
	}
	if os.Getppid() != pid {
		return nil, fmt.Errorf("watch process %d: it has ended, or is not the parent of this one", pid)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Watched{pid: pid, gone: make(chan struct{}), stop: stop}
	go w.pollParent(ctx) // ends with the parent or with Close
	return w, nil
}

// pollEvery costs one system call each time.
const pollEvery = 20 * time.Millisecond

func (w *Watched) pollParent(ctx context.Context) {
	for os.Getppid() == w.pid {
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return
		}
	}
	close(w.gone)
}

// PID is the number of the process.
func (w *Watched) PID() int { return w.pid }

// Gone is closed when the process has ended: its descriptors are closed, and so its ports and locks are free.
func (w *Watched) Gone() <-chan struct{} { return w.gone }

// Close ends the watch; Gone may then stay open. It can be called more than once.
func (w *Watched) Close() { w.stop() }
