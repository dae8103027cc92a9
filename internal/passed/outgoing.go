// Package passed holds what an application passes to the next process besides its sockets, by
// names: open files and connections, and states. [Outgoing] is what this process passes to its successors;
// [Inherited] is what its parent has passed to it.
package passed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
	"github.com/go-grace/grace/internal/wiring"
)

// MaxFiles bounds the files and connections that can be passed.
const MaxFiles = 1 << 14

// Outgoing is what the application of this process passes to successors.
type Outgoing struct {
	mu     sync.Mutex
	files  map[string]syscall.Conn
	states []State
}

// State is a state of the application, under a name.
type State struct {
	Name   string
	Encode func(context.Context) ([]byte, error)
}

// NewOutgoing returns an Outgoing that passes nothing.
func NewOutgoing() *Outgoing { return &Outgoing{files: make(map[string]syscall.Conn)} }

// AddFile adds an open file or connection. It keeps a reference, and no descriptor.
func (p *Outgoing) AddFile(name string, c syscall.Conn) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	if c == nil {
		return fmt.Errorf("what is to be passed as %q is nil", name)
	}
	if err := checkOpen(c); err != nil {
		return fmt.Errorf("what is to be passed as %q is not open: %w", name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, ok := p.files[name]; ok && checkOpen(other) == nil {
		return fmt.Errorf("%q is the name of something open: close it, or choose another name", name)
	}
	if len(p.files) >= MaxFiles {
		p.dropClosed()
	}
	if len(p.files) >= MaxFiles {
		return fmt.Errorf("%q is one more than the %d that can be passed", name, MaxFiles)
	}
	p.files[strings.Clone(name)] = c
	return nil
}

// checkOpen returns the error of something that is closed.
func checkOpen(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(uintptr) {})
}

// dropClosed forgets what was closed; mu is held.
func (p *Outgoing) dropClosed() {
	maps.DeleteFunc(p.files, func(_ string, c syscall.Conn) bool { return checkOpen(c) != nil })
}

// AddState adds a state.
func (p *Outgoing) AddState(s State) error {
	if err := state.CheckName(s.Name); err != nil {
		return err
	}
	if s.Encode == nil {
		return fmt.Errorf("state %q has no function that encodes it", s.Name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.states, func(o State) bool { return o.Name == s.Name }) {
		return fmt.Errorf("there is a state %q already", s.Name)
	}
	if len(p.states) == state.MaxStates {
		return fmt.Errorf("state %q is one more than the %d that can be passed",
			s.Name, state.MaxStates)
	}
	s.Name = strings.Clone(s.Name)
	p.states = append(p.states, s)
	return nil
}

// Extras returns the open files, in the order of their names.
func (p *Outgoing) Extras() []wiring.Extra {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropClosed()
	var all []wiring.Extra
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		all = append(all, wiring.Extra{
			Conn: p.files[name], About: handoff.ExtraFile{Use: handoff.UseFile, Name: name},
		})
	}
	return all
}

// States returns the states, in the order in which they were added.
func (p *Outgoing) States() []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.states)
}

// Forget drops all references: there will be no successor.
func (p *Outgoing) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.files)
	p.states = nil
}
