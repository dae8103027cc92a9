package transfer

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/go-grace/grace/internal/state"
)

// Handlers is the set of functions that take connections in the new process. Its methods can be
// called from several goroutines.
type Handlers struct {
	begun, ended func() // for each call

	mu     sync.Mutex
	named  map[string]*handler
	closed bool
}

// handler is one of the functions.
type handler struct {
	name   string
	handle func(c net.Conn, state []byte)
	calls  sync.WaitGroup
}

// call is a call of a handler, counted from the offer of its connection on.
type call struct {
	handlers *Handlers
	handler  *handler
	conn     net.Conn
	state    []byte
}

// NewHandlers makes an empty set. It calls begun before each call of a handler, and ended after it,
// so that the owner can wait for the calls.
func NewHandlers(begun, ended func()) *Handlers {
	return &Handlers{begun: begun, ended: ended, named: make(map[string]*handler)}
}

// Add adds a handler. Each call has a goroutine of its own, and owns its connection. The returned
// function removes the handler and waits until its calls have returned; the handler itself must not
// call it.
func (hs *Handlers) Add(
	name string, handle func(c net.Conn, state []byte),
) (remove func(), err error) {
	if err := state.CheckName(name); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, fmt.Errorf("the handler for %q is nil", name)
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.named[name] != nil {
		return nil, fmt.Errorf("%q has a handler already", name)
	}
	h := &handler{name: name, handle: handle}
	hs.named[name] = h
	return sync.OnceFunc(func() { hs.remove(h) }), nil
}

func (hs *Handlers) remove(h *handler) {
	hs.mu.Lock()
	delete(hs.named, h.name)
	hs.mu.Unlock()
	h.calls.Wait()
}

// Close makes every later offer be refused. Calls that have begun continue.
func (hs *Handlers) Close() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.closed = true
}

// begin begins a call of the handler with this name. The caller must run or end it.
func (hs *Handlers) begin(name string) (*call, error) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.named[name]
	switch {
	case hs.closed:
		return nil, errors.New("the new process is draining too")
	case h == nil:
		return nil, fmt.Errorf("the new process has no handler for %q: see HandleTransfers", name)
	}
	h.calls.Add(1)
	hs.begun()
	return &call{handlers: hs, handler: h}, nil
}

// run calls the handler.
func (c *call) run() {
	defer c.end()
	c.handler.handle(c.conn, c.state)
}

// cancel closes the connection instead: it belongs to another process.
func (c *call) cancel() {
	_ = c.conn.Close()
	c.end()
}

func (c *call) end() {
	c.handler.calls.Done()
	c.handlers.ended()
}
