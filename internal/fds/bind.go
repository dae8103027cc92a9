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
	record.Path = ask.path
	var deferred bool
	if ask.later {
		open = func(ctx context.Context, ask Ask) (conn Conn, err error) {
			conn, deferred, err = listenLater(ctx, ask)
			return conn, err
		}
	}
	conn, err := open(ctx, observed(ask, &record.Traits))
	if err != nil {
		return nil, err
	}
	if record.Traits.Namespace == "" && hasNamespace(ask) {
		_ = Control(conn, func(fd int) error {
			record.Traits.Namespace = namespaceOf(fd)
			return nil
		})
	}
	if ln, ok := conn.(*net.UnixListener); ok {
		// Only the Set knows whether a successor serves the path, which may not be removed then.
		ln.SetUnlinkOnClose(false)
	}
	sock := &Socket{key: ask.key(), record: record, bare: ask.Bare, conn: conn, deferred: deferred}
	sock.adoptPath()
	return sock, nil
}

// observed returns the Ask with a Control that stores what its own has made of the socket.
func observed(ask Ask, into *Traits) Ask {
	config := ask.Config
	if config.Control == nil {
		return ask
	}
	ask.Config.Control = func(network, address string, c syscall.RawConn) (err error) {
		*into, err = setUp(ask, config, network, address, c)
		return err
	}
	return ask
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

// listenPath binds the path of a unix socket. It replaces a socket file on which nobody answers,
// because a process that crashed left it behind.
//
// It locks the directory meanwhile. Otherwise, if several processes start at once, one could remove
// the socket of another between its bind(2) and its listen(2), when nobody answers there either. A
// directory that cannot be locked, because it cannot be opened or because somebody keeps it locked,
// may still accept a socket; nothing in it is removed then.
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
		return nil, fmt.Errorf("%w: a process that has ended left it behind, "+
			"and it cannot be removed: %w", inUse(ask), err)
	}
	return listen(ctx, ask)
}

func inUse(ask Ask) error {
	return fmt.Errorf("bind %s: %w", ask.Address, syscall.EADDRINUSE)
}

// checkStale returns an error that says why the path must not be removed, or nil.
func checkStale(ctx context.Context, ask Ask) error {
	info, err := os.Lstat(ask.Address)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is not a socket (%s): remove it or choose another path",
			ask.Address, info.Mode())
	}
	c, err := new(net.Dialer).DialContext(ctx, ask.Network, ask.Address)
	switch {
	case err == nil:
		err := fmt.Errorf("a process is listening on %s: stop it or choose another path",
			ask.Address)
		return errors.Join(err, c.Close())
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil // the socket of the file is closed
	}
	return fmt.Errorf("cannot tell whether a process serves %s: %w", ask.Address, err)
}
