//go:build unix

package handoff

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// The next process begins with the bytes that this one has read from a link to an older generation.
func TestPrependHeard(t *testing.T) {
	a, b := pair(t)
	drained := frame(t, &Drained{Duration: time.Second})
	write(t, a, append(append(frame(t, &Ready{}), drained...), drained[:3]...))
	wantMessage(t, b, &Ready{})
	wantMessage(t, b, &Drained{Duration: time.Second})
	must(t, b.Unread(&Drained{Duration: time.Second}))
	fd, err := unix.FcntlInt(uintptr(fdOf(t, b)), unix.F_DUPFD_CLOEXEC, 3)
	must(t, err)
	next, err := NewLink(os.NewFile(uintptr(fd), "link"))
	must(t, err)
	next.Prepend(b.Heard())
	defer next.Close()
	must(t, b.Close())
	wantMessage(t, next, &Drained{Duration: time.Second})
	write(t, a, drained[3:])
	wantMessage(t, next, &Drained{Duration: time.Second})
}

// A successor that starts after the old process is gone can read a queued message.
func TestQueuedMessageOutlivesItsSender(t *testing.T) {
	a, b := pair(t)
	want := &Hello{Version: Version, PID: 12, Generation: 3}
	must(t, a.Queue(want))
	must(t, a.Close())
	got, err := b.Receive(within(t))
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// Queue does not block if there is no room for the message and no reader yet.
func TestQueueKeepsTheRestForFlush(t *testing.T) {
	a, b := pair(t)
	want := &Hello{Version: Version, Sockets: make([]fds.Record, 20000)}
	for i := range want.Sockets {
		want.Sockets[i] = fds.Record{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", i)}
	}
	must(t, a.Queue(want))
	if len(a.queued) == 0 {
		t.Error("the message was too short for this test")
	}
	flushed := make(chan error, 1)
	go func() { flushed <- errors.Join(a.Flush(within(t)), a.Send(within(t), &Commit{})) }()
	for _, want := range []Message{want, &Commit{}} {
		got, err := b.Receive(within(t))
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("received another %s", Name(got))
		}
	}
	must(t, <-flushed)
}
