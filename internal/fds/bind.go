package fds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// bind opens a new socket.
func bind(ctx context.Context, ask Ask, record Record) (*Socket, error) {
	open := listen
	if isUnix(ask) {
		open = listenPath
	}
	conn, err := open(ctx, ask)
	if err != nil {
		return nil, err
	}
	if ln, ok := conn.(*net.UnixListener); ok {
		// A path may be removed only when no successor serves it, and this the Set knows; the listener does not.
		ln.SetUnlinkOnClose(false)
	}
	sock := &Socket{key: ask.key(), record: record, bare: ask.Bare, conn: conn}
	sock.ownPath()
	return sock, nil
}

func isUnix(ask Ask) bool {
	fam, _, _ := kindOf(ask.Network)
	return fam == familyUnix && isPath(ask.Address)
}

func listen(ctx context.Context, ask Ask) (Conn, error) {
	if _, kind, _ := kindOf(ask.Network); kind == kindDatagram || kind == kindRaw {
		pc, err := ask.Config.ListenPacket(ctx, ask.Network, ask.Address)
		if err != nil {
			return nil, err
		}
		return pc.(Conn), nil
	}
	ln, err := ask.Config.Listen(ctx, ask.Network, ask.Address)
	if err != nil {
		return nil, err
	}
	return ln.(Conn), nil
}

// listenPath binds the path of a unix socket. One that a process left behind when it crashed, a socket file on which nobody
// answers, is replaced.
//
// All of this is done under a lock on the directory, so that of several processes that start at once none removes what another
// has just bound: between its bind(2) and its listen(2), nobody answers there either. A directory that cannot be opened, which
// a socket can be bound in all the same, is not locked, and then nothing in it is removed.
func listenPath(ctx context.Context, ask Ask) (Conn, error) {
	unlock, lockErr := lockDir(ctx, filepath.Dir(ask.Address))
	if lockErr == nil {
		defer unlock()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	conn, err := listen(ctx, ask)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return conn, err
	}
	if err := errors.Join(lockErr, checkStale(ctx, ask)); err != nil {
		return nil, fmt.Errorf("%w: %w", inUse(ask), err)
	}
	if err := os.Remove(ask.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is left over from a process that has ended, and cannot be removed: %w", inUse(ask), err)
	}
	return listen(ctx, ask)
}

func inUse(ask Ask) error {
	return fmt.Errorf("bind %s: %w", ask.Address, syscall.EADDRINUSE)
}

// checkStale reports why the path must not be removed, or nil.
func checkStale(ctx context.Context, ask Ask) error {
	info, err := os.Lstat(ask.Address)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is no socket (%s): remove it or choose another path", ask.Address, info.Mode())
	}
	c, err := new(net.Dialer).DialContext(ctx, ask.Network, ask.Address)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("a process is listening on %s: stop it or choose another path", ask.Address), c.Close())
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil // the socket that made the file is closed
	}
	return fmt.Errorf("cannot tell whether a process serves %s: %w", ask.Address, err)
}
