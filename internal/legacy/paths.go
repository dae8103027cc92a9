package legacy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
)

// Paths keeps the paths of unix sockets that a parent is about to remove.
//
// Package net removes the path of a unix socket when the process that has bound it closes its
// listener, and so does a parent that drains: nobody has told it not to. The socket is ours by
// then, but no client would find it. So a second link to its file is made before, and the path is
// made again from that as soon as it is missing. For a moment it is.
type Paths struct {
	kept []keptPath
	emit func(context.Context, graceevent.Event)
}

// keptPath is the path of a socket, and another one in the same directory.
type keptPath struct{ path, spare string }

// KeepPaths makes the second links.
func KeepPaths(
	ctx context.Context, socks []*fds.Socket, emit func(context.Context, graceevent.Event),
) *Paths {
	p := &Paths{emit: emit}
	for _, sock := range socks {
		addr, ok := sock.Addr().(*net.UnixAddr)
		if !ok || addr.Name == "" || strings.HasPrefix(addr.Name, "@") || !sock.Inherited() {
			continue
		}
		spare := fmt.Sprintf(".%s.%d", filepath.Base(addr.Name), os.Getpid())
		k := keptPath{addr.Name, filepath.Join(filepath.Dir(addr.Name), spare)}
		if err := os.Link(k.path, k.spare); err != nil {
			emit(ctx, graceevent.PathLost{Path: k.path, Err: fmt.Errorf("keep it: %w", err)})
			continue
		}
		p.kept = append(p.kept, k)
	}
	return p
}

// pathsEvery is how long clients may miss a path.
const pathsEvery = time.Millisecond

// Restore waits until the old process has removed the paths, or is gone, or ctx has ended. No
// second link is left.
func (p *Paths) Restore(ctx context.Context, gone <-chan struct{}) {
	for len(p.kept) > 0 {
		last := false
		select {
		case <-gone:
			last = true
		case <-ctx.Done():
			last = true
		case <-time.After(pathsEvery):
		}
		var missing []keptPath
		for _, k := range p.kept {
			if !p.restore(ctx, k) && !last {
				missing = append(missing, k)
				continue
			}
			_ = os.Remove(k.spare)
		}
		p.kept = missing
	}
}

// restore makes the path again if it is missing. It reports whether it was; another file that has
// taken the place stays.
func (p *Paths) restore(ctx context.Context, k keptPath) bool {
	if _, err := os.Lstat(k.path); !errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err := os.Link(k.spare, k.path); err != nil && !errors.Is(err, os.ErrExist) {
		p.emit(ctx, graceevent.PathLost{Path: k.path, Err: fmt.Errorf("restore it: %w", err)})
	}
	return true
}
