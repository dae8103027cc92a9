package grace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// Bounds of what can be passed to a successor beside the sockets.
const (
	MaxPassed     = 1 << 14         // files and connections, of [Manager.Pass]
	MaxStates     = state.MaxStates // states, of [Manager.PassState]: 1,024
	MaxState      = state.MaxState  // bytes of one state: 64 MiB
	MaxStateTotal = state.MaxTotal  // bytes of all states: 256 MiB
)

// Pass has the open file or connection passed to each successor of this process, which gets it by the name from
// [Manager.Inherited]. Everything of package os and net that has a descriptor can be passed: files, pipes, connected sockets,
// and what [os.NewFile] makes of other descriptors. Listening sockets are passed by the Listen functions already. A TLS
// connection cannot be, since its keys are in this process.
//
// The Manager keeps a reference, and no descriptor: c stays the caller's to use and to close. What is closed when an upgrade
// starts the successor is left out, and its name is free again. What is passed while an upgrade is under way may miss it.
//
// Both processes have the same open file then, not a copy. They share its offset and its O_NONBLOCK flag; [os.File.Fd] can
// clear that flag, and is better left alone. Only one of them should use a connection: an OnUpgrade hook has the old process
// stop, and an OnUpgradeFailed hook has it go on; the new one begins when [Manager.Ready] has returned (after the probation, if
// there is one), unless an OnUpgrade hook has run by then. What was read from the connection and not yet handled is state, for
// [Manager.PassState]. After a successful upgrade the old process closes c. A successor passes on to its own only what it
// passes itself.
//
// The name must be printable UTF-8 of 1 to 255 bytes, and can be that of a state as well. Errors: a name that belongs to
// something open, something that is closed, more than [MaxPassed]; [ErrUpgraded] and [ErrShutdown] when this process drains.
func (m *Manager) Pass(name string, c syscall.Conn) error {
	if err := m.life.stopped(); err != nil {
		return err
	}
	if err := m.passing.addFile(name, c); err != nil {
		return fmt.Errorf("grace: pass a file: %w", err)
	}
	return nil
}

// PassState has encode called in each upgrade, and what it returns passed to the successor, which gets it by the name from
// [Manager.InheritedState]. That may be nothing: a state of 0 bytes is a state.
//
// The functions run after the OnUpgrade hooks and the check of [WithCheck], before the successor is started, one after another
// in the order of their registration. What changes after that is not passed; an OnUpgrade hook can see to it that nothing does,
// and an OnUpgradeFailed hook undo that. Their context ends with the upgrade timeout or the upgrade, and a function that has
// not returned a second after that is left behind. Its error fails the upgrade at [StepState], as does a state of more than
// [MaxState] bytes, or more than [MaxStateTotal] bytes of all of them. The bytes that encode returns are not kept.
//
// The name must be printable UTF-8 of 1 to 255 bytes, and can be that of a file as well. Errors: a name that has a state, more
// than [MaxStates]; [ErrUpgraded] and [ErrShutdown] when this process drains.
func (m *Manager) PassState(name string, encode func(context.Context) ([]byte, error)) error {
	if err := m.life.stopped(); err != nil {
		return err
	}
	if err := m.passing.addState(passedState{name, encode}); err != nil {
		return fmt.Errorf("grace: pass a state: %w", err)
	}
	return nil
}

// passing is what the application has passed to successors.
type passing struct {
	mu     sync.Mutex
	files  map[string]syscall.Conn
	states []passedState
}

type passedState struct {
	name   string
	encode func(context.Context) ([]byte, error)
}

func (p *passing) addFile(name string, c syscall.Conn) error {
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
		return fmt.Errorf("the name %q belongs to another that is open: close that, or choose another name", name)
	}
	if len(p.files) >= MaxPassed {
		p.dropClosed()
	}
	if len(p.files) >= MaxPassed {
		return fmt.Errorf("%q is one more than the %d that can be passed", name, MaxPassed)
	}
	p.files[name] = c
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
func (p *passing) dropClosed() {
	maps.DeleteFunc(p.files, func(_ string, c syscall.Conn) bool { return checkOpen(c) != nil })
}

func (p *passing) addState(s passedState) error {
	if err := state.CheckName(s.name); err != nil {
		return err
	}
	if s.encode == nil {
		return fmt.Errorf("state %q has no function that encodes it", s.name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.states, func(other passedState) bool { return other.name == s.name }) {
		return fmt.Errorf("there is a state %q already", s.name)
	}
	if len(p.states) == MaxStates {
		return fmt.Errorf("state %q is one more than the %d that can be passed", s.name, MaxStates)
	}
	p.states = append(p.states, s)
	return nil
}

// bequests describes the open files, in the order of their names.
func (p *passing) bequests() []bequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropClosed()
	var all []bequest
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		all = append(all, bequest{conn: p.files[name], about: handoff.ExtraFile{Use: handoff.UseFile, Name: name}})
	}
	return all
}

func (p *passing) allStates() []passedState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.states)
}

// forget drops all references: there will be no successor.
func (p *passing) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.files)
	p.states = nil
}

// encodeStates asks the application for its states, and has them in a file for the successor. No two are in memory at once.
func (a *attempt) encodeStates(ctx context.Context) error {
	all := a.m.passing.allStates()
	if len(all) == 0 {
		return nil
	}
	w, err := state.Create()
	if err != nil {
		return fmt.Errorf("create a file for the states: %w", err)
	}
	for _, s := range all {
		if err := a.encodeState(ctx, s, w); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	a.state, err = w.Finish()
	return err
}

func (a *attempt) encodeState(ctx context.Context, s passedState, w *state.Writer) error {
	var data []byte
	err := a.m.hooks.run(ctx, "PassState", s.name, func(ctx context.Context) (err error) {
		data, err = s.encode(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.Add(s.name, data)
}

// forgetState closes the file of states, of which a successor has its own descriptor.
func (a *attempt) forgetState() {
	if a.state != nil {
		_ = a.state.Close()
	}
}
