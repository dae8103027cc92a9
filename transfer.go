package grace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wait"
)

// MaxTransferState is the number of bytes of state that can accompany a connection: 64 KiB.
const MaxTransferState = transfer.MaxState

// Transfer moves an open connection to the process that serves, while this one drains: to the
// successor, or to the process that has replaced it since. The new process calls the function that
// it registered by the same name, see [Manager.HandleTransfers], with the connection and data. The
// data is up to [MaxTransferState] bytes, such as those that were read and not yet handled.
//
// The connection must be an accepted one of package net, over TCP or a unix socket. No Read or
// Write may be under way, and none may begin before Transfer returns.
//
// When Transfer returns nil, the new process has the connection, and the caller closes c. After an
// error the caller still has it and can use it as before: no other process has touched it or ever
// will. Both are certain, even if the new process dies or hangs: an offer without an answer is
// revoked after 3 seconds. If an answer cannot be read or understood, the new process may have the
// connection: Transfer returns nil, and a connection that was refused ends. (A process that hangs still holds a descriptor of the connection. Until
// it ends or continues, the client notices CloseWrite, but not Close.)
//
// Up to 32 transfers are under way at once, fewer with large states. The context bounds the wait
// for a place among them. Transfer can be called by several goroutines.
//
// If the arguments are right, the error matches [ErrNoSuccessor], [ErrRefused], the cause of the
// context, or an error of the connection such as [net.ErrClosed].
func (m *Manager) Transfer(ctx context.Context, name string, c syscall.Conn, data []byte) error {
	if err := m.sender().Send(ctx, name, c, data); err != nil {
		return fmt.Errorf("grace: transfer a connection to %q: %w", name, err)
	}
	return nil
}

// sender returns the way to the successor; nil while this process has none that serves.
func (m *Manager) sender() *transfer.Sender {
	u := m.upgrade.Load()
	if u == nil || !errors.Is(m.Cause(), ErrUpgraded) {
		return nil
	}
	return u.child.sender
}

// HandleTransfers registers a function for the connections that older processes transfer by this
// name, see [Manager.Transfer]. It should be called before [Manager.Ready]: a connection for whose
// name there is no function is refused.
//
// Each call of handle has a goroutine of its own, once this process serves. It owns the connection,
// which is a [*net.TCPConn] or [*net.UnixConn] with a RemoteAddr and unchanged socket options. The
// state is the data of Transfer.
//
// stop unregisters the function, and returns when all its calls have returned; handle must not call
// it. A drain does this by itself: it takes no connections after the OnDrain hooks, and waits for
// the calls as for the functions of [Manager.Go].
//
// If handle panics, or calls [runtime.Goexit], its connection is closed and the observers are told
// ([graceevent.TransferHandlerFailed]): as in net/http, the others go on.
//
// The name must be printable UTF-8 of 1 to 255 bytes. It is an error if the name has a function
// already, or if handle is nil.
func (m *Manager) HandleTransfers(
	name string, handle func(c net.Conn, state []byte),
) (stop func(), err error) {
	if handle != nil {
		handle = m.guarded(name, handle)
	}
	stop, err = m.handlers.Add(strings.Clone(name), handle)
	if err != nil {
		return nil, fmt.Errorf("grace: handle transfers: %w", err)
	}
	return stop, nil
}

// guarded returns a function that calls handle, and closes the connection if that does not return.
func (m *Manager) guarded(
	name string, handle func(net.Conn, []byte),
) func(net.Conn, []byte) {
	return func(c net.Conn, state []byte) {
		err := wait.ErrGoexit
		defer func() {
			if err != nil {
				_ = c.Close()
				m.emit(m.draining, graceevent.TransferHandlerFailed{Name: name, Err: err})
			}
		}()
		err = part(func() error {
			return recovered(func() error {
				handle(c, state)
				return nil
			})
		})
	}
}
