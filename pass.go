package grace

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/go-grace/grace/internal/passed"
	"github.com/go-grace/grace/internal/state"
)

// Bounds of what can be passed to a successor besides the sockets.
const (
	MaxFiles      = passed.MaxFiles // files and connections, of [Manager.PassFile]
	MaxStates     = state.MaxStates // states, of [Manager.PassState]: 1,024
	MaxState      = state.MaxState  // bytes of one state: 64 MiB
	MaxStateTotal = state.MaxTotal  // bytes of all states: 256 MiB
)

// PassFile passes an open file or connection to each successor of this process, which gets it by
// the name from [Manager.InheritedFile]. Everything of package os and net that has a descriptor can
// be passed: files, pipes, connected sockets, and what [os.NewFile] makes of other descriptors.
// Listening sockets are passed by the Listen functions already. A TLS connection cannot be, because
// its keys are in this process.
//
// The Manager keeps a reference and no descriptor: c stays the caller's to use and to close. What
// is closed when an upgrade starts the successor is left out, and its name is free again. What is
// added while an upgrade is under way may miss it.
//
// Both processes then have the same open file, with one offset and one O_NONBLOCK flag, which
// [os.File.Fd] can clear. Only one of them should use it at a time: an OnUpgrade hook has the old
// process stop, and an OnUpgradeFailed hook has it go on; the new one begins when [Manager.Ready]
// has returned. What was read from a connection and not yet handled is state, for
// [Manager.PassState]. After a successful upgrade the old process closes c, in an OnDrain hook for
// example: its drain waits for a connection that it has open.
//
// The name must be printable UTF-8 of 1 to 255 bytes, and may be that of a state as well. Errors: a
// name that belongs to something open, something that is closed, more than [MaxFiles];
// [ErrUpgraded] and [ErrShutdown] when this process stops or drains.
func (m *Manager) PassFile(name string, c syscall.Conn) error {
	if err := m.life.stopped(); err != nil {
		return err
	}
	if err := m.outgoing.AddFile(name, c); err != nil {
		return fmt.Errorf("grace: pass a file: %w", err)
	}
	return nil
}

// PassState calls encode in each upgrade, and passes what it returns to the successor, which gets
// it by the name from [Manager.InheritedState]. A state of 0 bytes is a state.
//
// The functions run after the OnUpgrade hooks and the check of [WithCheck], before the successor is
// started, one after another in the order of their registration. What changes after that is not
// passed; an OnUpgrade hook can see to it that nothing does. A function that has not returned a
// second after the end of its context is left behind. Its error fails the upgrade at [StepState],
// as does a state of more than [MaxState] bytes, or more than [MaxStateTotal] bytes of all of them.
//
// State travels in a sealed file in memory, with a length and a checksum. Except on Linux, and where
// the kernel refuses such a file, it is a temporary file without a name instead. Neither can be
// opened by another user, and no event shows what is in it, so a state may be secret, but a
// temporary file may be written to the disk. The bytes that encode returns are not kept.
//
// The name must be printable UTF-8 of 1 to 255 bytes, and may be that of a file as well. Errors: a
// name that has a state, more than [MaxStates]; [ErrUpgraded] and [ErrShutdown] when this process
// stops or drains.
func (m *Manager) PassState(name string, encode func(context.Context) ([]byte, error)) error {
	if err := m.life.stopped(); err != nil {
		return err
	}
	if err := m.outgoing.AddState(passed.State{Name: name, Encode: encode}); err != nil {
		return fmt.Errorf("grace: pass a state: %w", err)
	}
	return nil
}

// InheritedFile returns the file or connection that the previous process has passed by the name,
// see [Manager.PassFile]. The caller owns it and closes it. [net.FileConn] makes a connection of a
// connected socket, with a descriptor of its own. Use it once [Manager.Ready] has returned: until
// then it is the previous process's to use.
//
// What nobody has asked for is closed when this process begins to serve. The error matches
// [ErrNotInherited] if there is no file of the name, as in a first generation, or if it was
// returned before; it lists the names that there are.
func (m *Manager) InheritedFile(name string) (*os.File, error) {
	return m.inherited.File(name)
}

// InheritedState returns a copy of the state that the previous process has passed by the name, see
// [Manager.PassState], until this process begins to serve. A state that was damaged on its way is
// an error of New. A program that cannot understand the state, of another version for example,
// gives up by [Manager.Fail].
//
// The error matches [ErrNotInherited] if there is no state of the name, as in a first generation;
// it lists the names that there are.
func (m *Manager) InheritedState(name string) ([]byte, error) {
	return m.inherited.State(name)
}
