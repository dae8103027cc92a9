package grace

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/go-grace/grace/internal/state"
)

// Inherited gives the file or connection that the previous process has passed by the name, see [Manager.Pass]. The caller owns
// it from then on, and closes it. Use [net.FileConn] to make a connection of a connected socket; it has its own descriptor, and
// the file is to be closed then. [os.File.Name] is not that of the file in the file system. Offset and O_NONBLOCK are shared
// with the previous process, which uses the file until its upgrade has succeeded: so reading and writing should begin when
// [Manager.Ready] has returned.
//
// The error matches [ErrNotInherited] and says which names there are if there is none of the name, as in a first generation, or
// if it was given before. What nobody has asked for is closed when this process begins to serve, or has failed to.
func (m *Manager) Inherited(name string) (*os.File, error) {
	return m.received.file(name)
}

// InheritedState gives the state that the previous process has passed by the name, see [Manager.PassState]. New has verified
// that it is what was passed; a state that was damaged on its way is an error of New, and so of the upgrade. The data are the
// caller's. The Manager keeps none: the state can be asked for again, and is read anew, until this process begins to serve.
//
// A program that cannot understand the state, of another version for example, should give the reason to [Manager.Fail] and
// exit: the previous process then serves on, and its Upgrade returns the reason.
//
// The error matches [ErrNotInherited] and says which names there are if there is none of the name, as in a first generation, or
// if this process serves already or has failed to.
func (m *Manager) InheritedState(name string) ([]byte, error) {
	return m.received.state(name)
}

// received is what the application of the old process has passed to this one.
type received struct {
	mu     sync.Mutex
	files  map[string]*os.File // nil for one that was given to the application
	states *state.File         // nil if there are none
	asked  map[string]bool     // for states
	closed error               // why there is nothing any more
}

func newReceived() *received {
	return &received{files: make(map[string]*os.File), asked: make(map[string]bool)}
}

// takeFile takes a descriptor that came by the name.
func (r *received) takeFile(name string, f *os.File) error {
	err := state.CheckName(name)
	if _, ok := r.files[name]; ok {
		err = errors.New("there are two")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%w: the old process has passed a file %q: %w", ErrProtocol, name, err), f.Close())
	}
	r.files[name] = f
	return nil
}

// takeStates takes the file of states, and verifies it.
func (r *received) takeStates(f *os.File) error {
	if r.states != nil {
		return errors.Join(fmt.Errorf("%w: the old process has passed two files of states", ErrProtocol), f.Close())
	}
	var err error
	if r.states, err = state.Open(f); err != nil {
		return fmt.Errorf("%w: the states that the old process has passed: %w", ErrProtocol, err)
	}
	return nil
}

func (r *received) file(name string) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.files[name]
	switch {
	case f != nil:
		r.files[name] = nil
		return f, nil
	case ok:
		return nil, notInherited("file", name, "it was given before")
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

func (r *received) state(name string) ([]byte, error) {
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

// stateNames lists the states; mu is held.
func (r *received) stateNames() []string {
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

// errSettled is why there is nothing to be had in a process that serves.
var errSettled = errors.New("this process serves, and what nobody had asked for by then was closed")

// close closes what nobody has asked for, and returns its names.
func (r *received) close(reason error) (files, states []string) {
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
