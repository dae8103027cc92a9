//go:build linux

package transfer

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// held is a handler that keeps its connections until they are released.
type held struct {
	began   chan struct{} // holds a value after the first call has begun
	waiting chan struct{}
	release func()
}

func hold(t *testing.T) held {
	h := held{began: make(chan struct{}, 1), waiting: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.waiting) })
	t.Cleanup(h.release)
	return h
}

func (h held) handle(c net.Conn, _ []byte) {
	select {
	case h.began <- struct{}{}:
	default: // it is known
	}
	<-h.waiting
	_, _ = io.WriteString(c, "done\n")
	_ = c.Close()
}

// When remove has returned, the handler does not run, and is not called again.
func TestRemoveWaitsForCalls(t *testing.T) {
	h := newHandover(t)
	fn := hold(t)
	handlers := h.receiver.handlers
	remove, err := handlers.Add("held", fn.handle)
	if err != nil {
		t.Fatal(err)
	}
	h.receive()
	client := h.transferTo(fn)
	removed := make(chan struct{})
	go func() { remove(); remove(); close(removed) }() // ends with the call
	err = h.refusal()
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no handler") {
		t.Errorf("got %v", err)
	}
	select {
	case <-removed:
		t.Error("remove has returned during a call")
	default:
	}
	fn.release()
	<-removed
	says(t, client, "", "done\n")
	if _, err := handlers.Add("held", fn.handle); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// transferTo transfers a connection to the handler "held", and returns once that runs.
func (h *handover) transferTo(fn held) (client net.Conn) {
	h.t.Helper()
	client, server := connect(h.t)
	if err := h.offer(server, "held", ""); err != nil {
		h.t.Fatal(err)
	}
	server.Close()
	<-fn.began
	return client
}

// refusal offers a connection to the handler "held" until it is not taken any more.
func (h *handover) refusal() (err error) {
	_, server := connect(h.t)
	for err == nil {
		err = h.offer(server, "held", "")
	}
	return err
}

// After Close nothing is taken, and the calls that have begun go on.
func TestCloseOfHandlers(t *testing.T) {
	h := newHandover(t)
	fn := hold(t)
	if _, err := h.receiver.handlers.Add("held", fn.handle); err != nil {
		t.Fatal(err)
	}
	h.receive()
	client := h.transferTo(fn)
	h.receiver.handlers.Close()
	err := h.refusal()
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "is draining") {
		t.Errorf("got %v", err)
	}
	fn.release()
	says(t, client, "", "done\n")
}

// Each name has one handler.
func TestAddOfWhatIsWrong(t *testing.T) {
	handlers := NewHandlers(func() {}, func() {})
	handle := func(net.Conn, []byte) {}
	remove, err := handlers.Add("lines", handle)
	if err != nil {
		t.Fatal(err)
	}
	for want, add := range map[string]struct {
		name   string
		handle func(net.Conn, []byte)
	}{
		"the name is empty":             {"", handle},
		`the handler for "chat" is nil`: {"chat", nil},
		`"lines" has a handler already`: {"lines", handle},
	} {
		if _, err := handlers.Add(add.name, add.handle); err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	remove()
	if _, err := handlers.Add("lines", handle); err != nil {
		t.Errorf("after the first one was removed: %v", err)
	}
}
