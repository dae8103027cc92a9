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
	conn, err := listen(ctx, ask)
	if errors.Is(err, syscall.EADDRINUSE) && isUnix(ask) {
		conn, err = replaceStale(ctx, ask, err)
	}
	if err != nil {
		return nil, err
	}
	if ln, ok := conn.(*net.UnixListener); ok {
		// A path may be removed only when no successor serves it, and this the Set knows; the listener does not.
		ln.SetUnlinkOnClose(false)
	}
	sock := &Socket{record: record, bare: ask.Bare, conn: conn}
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

// replaceStale binds a path that a process left behind when it crashed: a socket file on which nobody answers. The look at
// the file and its removal are done under a lock on the directory, so that of several processes that start at once none
// removes what another has just bound.
func replaceStale(ctx context.Context, ask Ask, inUse error) (Conn, error) {
	unlock, err := lockDir(ctx, filepath.Dir(ask.Address))
	if err != nil {
		return nil, errors.Join(inUse, err)
	}
	defer unlock()
	if err := checkStale(ctx, ask); err != nil {
		return nil, fmt.Errorf("%w: %w", inUse, err)
	}
	if err := os.Remove(ask.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: it is left over from a process that has ended, and cannot be removed: %w", inUse, err)
	}
	return listen(ctx, ask)
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
