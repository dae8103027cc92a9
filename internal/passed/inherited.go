package passed

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// ErrNotInherited is matched by errors about a name that the parent has not passed, or that is no
// longer there.
var ErrNotInherited = errors.New("grace: not inherited")

// Inherited is what the application of the old process has passed to this one.
type Inherited struct {
	mu     sync.Mutex
	files  map[string]*os.File // nil for a file that the application has
	states *state.File         // nil if there are none
	asked  map[string]bool     // for states
	closed error               // why nothing is left
}

// NewInherited returns an Inherited of nothing.
func NewInherited() *Inherited {
	return &Inherited{files: make(map[string]*os.File), asked: make(map[string]bool)}
}

// TakeFile takes a descriptor that came by the name.
func (r *Inherited) TakeFile(name string, f *os.File) error {
	err := state.CheckName(name)
	if _, ok := r.files[name]; ok {
		err = errors.New("there are two")
	}
	if err != nil {
		err = fmt.Errorf("%w: the old process passed a file %q: %w", handoff.ErrProtocol, name, err)
		return errors.Join(err, f.Close())
	}
	r.files[name] = f
	return nil
}

// TakeStates takes the file of states, and verifies it.
func (r *Inherited) TakeStates(f *os.File) error {
	if r.states != nil {
		err := fmt.Errorf("%w: the old process passed two files of states", handoff.ErrProtocol)
		return errors.Join(err, f.Close())
	}
	var err error
	if r.states, err = state.Open(f); err != nil {
		return fmt.Errorf("%w: the states that the old process passed: %w", handoff.ErrProtocol, err)
	}
	return nil
}

// File returns the file of the name, which is the caller's from then on.
func (r *Inherited) File(name string) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.files[name]
	switch {
	case f != nil:
		r.files[name] = nil
		return f, nil
	case ok:
		return nil, notInherited("file", name, "it was returned before")
	case r.closed != nil:
		return nil, notInherited("file", name, r.closed.Error())
	}
	var left []string
	for name, f := range r.files {
		if f != nil {
			left = append(left, name)
		}
	}
	return nil, notInherited("file", name, listNames(left))
}

// State returns a copy of the state of the name.
func (r *Inherited) State(name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, notInherited("state", name, r.closed.Error())
	}
	names := r.stateNames()
	if !slices.Contains(names, name) {
		return nil, notInherited("state", name, listNames(names))
	}
	r.asked[name] = true
	data, err := r.states.Read(name)
	if err != nil {
		return nil, fmt.Errorf("grace: %w", err)
	}
	return data, nil
}

func notInherited(what, name, why string) error {
	return fmt.Errorf("%w: %s %q: %s", ErrNotInherited, what, name, why)
}

// Names lists everything that was passed.
func (r *Inherited) Names() (files, states []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.files)), r.stateNames()
}

// stateNames lists the states; mu is held.
func (r *Inherited) stateNames() []string {
	if r.states == nil {
		return nil
	}
	return r.states.Names()
}

// listNames says what there is instead of what was asked for.
func listNames(names []string) string {
	const most = 20 // names in an error
	if len(names) == 0 {
		return "there are none"
	}
	slices.Sort(names)
	quoted := make([]string, 0, most)
	for _, name := range names[:min(len(names), most)] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	s := "there are " + strings.Join(quoted, ", ")
	if more := len(names) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// Close closes what nobody has asked for, and returns its names.
func (r *Inherited) Close(reason error) (files, states []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, nil
	}
	r.closed = reason
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		if f := r.files[name]; f != nil {
			_ = f.Close() // what was written to it is not ours to report
			files = append(files, name)
			delete(r.files, name)
		}
	}
	if r.states == nil {
		return files, nil
	}
	for _, name := range r.stateNames() {
		if !r.asked[name] {
			states = append(states, name)
		}
	}
	_ = r.states.Close() // nothing is written
	r.states = nil
	return files, states
}
