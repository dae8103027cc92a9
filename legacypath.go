package grace

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Package net removes the path of a unix socket when the process that has bound it closes its listener, and so does a legacy parent
// that drains: nobody has told it not to. The socket is ours by then, but no client would find it. So a second link to its file is
// made before, and the path is made anew from that as soon as it is missing. For a moment, it is.

// keptPath is the path of a socket, and another one in the same directory.
type keptPath struct{ path, spare string }

// keepPaths makes the second links.
func (m *Manager) keepPaths() []keptPath {
	var kept []keptPath
	for _, sock := range m.sockets.Sockets() {
		addr, ok := sock.Addr().(*net.UnixAddr)
		if !ok || addr.Name == "" || strings.HasPrefix(addr.Name, "@") || !sock.Inherited() {
			continue
		}
		k := keptPath{addr.Name, filepath.Join(filepath.Dir(addr.Name), fmt.Sprintf(".%s.%d", filepath.Base(addr.Name), os.Getpid()))}
		if err := os.Link(k.path, k.spare); err != nil {
			m.emit(Warned{fmt.Errorf("the old process will remove %s, which cannot be kept: %w", k.path, err)})
			continue
		}
		kept = append(kept, k)
	}
	return kept
}

// pathsEvery is how long clients may miss a path.
const pathsEvery = time.Millisecond

// restorePaths waits until the old process has removed the paths, or is gone. No second link is left.
func (m *Manager) restorePaths(kept []keptPath, old *ancestor) {
	for len(kept) > 0 {
		last := false
		select {
		case <-old.watch.Gone():
			last = true
		case <-m.draining.Done():
			last = true
		case <-time.After(pathsEvery):
		}
		var missed []keptPath
		for _, k := range kept {
			if !m.restorePath(k) && !last {
				missed = append(missed, k)
				continue
			}
			_ = os.Remove(k.spare)
		}
		kept = missed
	}
}

// restorePath makes the path anew if it is missing. It reports whether it was; another file that has taken the place stays.
func (m *Manager) restorePath(k keptPath) bool {
	if _, err := os.Lstat(k.path); !errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err := os.Link(k.spare, k.path); err != nil && !errors.Is(err, os.ErrExist) {
		m.emit(Warned{fmt.Errorf("%s, which the old process has removed, cannot be restored: %w", k.path, err)})
	}
	return true
}
