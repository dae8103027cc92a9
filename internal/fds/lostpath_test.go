//go:build unix

package fds

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// inheritPath opens a socket in one Set, does something to its path, and asks for it in the next.
func inheritPath(t *testing.T, ask Ask, between func()) (old, sock *Socket) {
	t.Helper()
	first := newSet(t)
	old = openAsk(t, first, ask)
	next, _ := newSetWith(t, passedSocket{old.Record(), old.Conn()})
	between()
	return old, openAsk(t, next, ask)
}

// wantLost checks whether a socket was bound again, and whether its path was found to be lost.
func wantLost(t *testing.T, sock *Socket, wantRebound, wantLost bool) {
	t.Helper()
	_, rebound, err := sock.LostPath()
	if rebound != wantRebound || (err != nil) != wantLost || sock.Inherited() == wantRebound {
		t.Errorf("bound again: %t, inherited: %t, lost: %v", rebound, sock.Inherited(), err)
	}
}

func TestLostPathIsBoundAgain(t *testing.T) {
	for what, lose := range map[string]func(t *testing.T, ask Ask){
		"removed": func(t *testing.T, ask Ask) { must(t, os.Remove(ask.Address)) },
		"moved":   func(t *testing.T, ask Ask) { must(t, os.Rename(ask.Address, sockPath(t))) },
		"replaced by a process that has crashed": func(t *testing.T, ask Ask) {
			must(t, os.Rename(ask.Address, sockPath(t)))
			listenAs(t, ask)()
		},
	} {
		t.Run(what, func(t *testing.T) {
			forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
				old, sock := inheritPath(t, ask, func() { lose(t, ask) })
				wantLost(t, sock, true, true)
				if !reaches(t, &net.UnixAddr{Name: ask.Address, Net: ask.Network}) {
					t.Error("nobody answers at the path")
				}
				must(t, old.Close())
				if !exists(ask.Address) {
					t.Error("the old process has removed the path of the new one")
				}
				must(t, sock.Close())
				if exists(ask.Address) {
					t.Error("the path is left over")
				}
			})
		})
	}
}

func TestLostPathIsNotStolen(t *testing.T) {
	for what, lose := range map[string]func(t *testing.T, ask Ask){
		"taken by a process": func(t *testing.T, ask Ask) {
			must(t, os.Remove(ask.Address))
			listenAs(t, ask)
		},
		"taken by a file": func(t *testing.T, ask Ask) {
			must(t, os.Remove(ask.Address))
			must(t, os.WriteFile(ask.Address, nil, 0o600))
		},
		"directory removed": func(t *testing.T, ask Ask) {
			must(t, os.RemoveAll(filepath.Dir(ask.Address)))
		},
	} {
		t.Run(what, func(t *testing.T) {
			forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
				was := ""
				_, sock := inheritPath(t, ask, func() {
					lose(t, ask)
					was = fileID(ask.Address)
				})
				wantLost(t, sock, false, true)
				if now := fileID(ask.Address); now != was {
					t.Errorf("the path has the file %q, and had %q", now, was)
				}
				must(t, sock.Close())
				if now := fileID(ask.Address); now != was {
					t.Error("the path was removed")
				}
			})
		})
	}
}

// What does not keep clients from a socket is not a loss.
func TestPathThatIsNotLost(t *testing.T) {
	for what, do := range map[string]func(t *testing.T, ask Ask){
		"touched": func(t *testing.T, ask Ask) {
			must(t, os.Chtimes(ask.Address, time.Unix(1, 0), time.Unix(1, 0)))
		},
		"published under another name": func(t *testing.T, ask Ask) {
			must(t, os.Rename(ask.Address, ask.Address+"2"))
		},
		"made accessible": func(t *testing.T, ask Ask) { must(t, os.Chmod(ask.Address, 0o666)) },
		"moved behind a symbolic link": func(t *testing.T, ask Ask) {
			must(t, os.Rename(ask.Address, ask.Address+"2"))
			must(t, os.Symlink(ask.Address+"2", ask.Address))
		},
	} {
		t.Run(what, func(t *testing.T) {
			forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
				_, sock := inheritPath(t, ask, func() { do(t, ask) })
				wantLost(t, sock, false, false)
			})
		})
	}
}

// Who has given a socket has to make its path.
func TestLostPathOfGivenSocket(t *testing.T) {
	s, ask := newSetWithUnix(t, true)
	must(t, os.Remove(ask.Address))
	sock := openAsk(t, s, ask)
	wantLost(t, sock, false, true)
	if exists(ask.Address) {
		t.Error("the path of a given socket was made")
	}
}

// A process may change its directory after it has opened a socket, and its successor may start in
// another one.
func TestRelativePathAndChdir(t *testing.T) {
	forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
		dir, elsewhere := sockDir(t), sockDir(t)
		ask.Address = "s"
		t.Chdir(dir)
		first := newSet(t)
		old := openAsk(t, first, ask)
		record := old.Record()
		t.Chdir(elsewhere)
		next, _ := newSetWith(t, passedSocket{record, old.Conn()}, passedSocket{record, old.Conn()})
		other := openAsk(t, next, ask)
		if other.Inherited() || !exists(filepath.Join(elsewhere, "s")) {
			t.Error("the socket of another directory was taken over")
		}
		ask.Address = filepath.Join(dir, "s")
		if sock := openAsk(t, next, ask); !sock.Inherited() {
			t.Error("the socket is not known by its absolute path")
		}
		must(t, old.Close())
		if exists(filepath.Join(dir, "s")) || !exists(filepath.Join(elsewhere, "s")) {
			t.Error("another path than that of the closed socket was removed")
		}
	})
}
