//go:build unix

package fds

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// crashed leaves a path behind, as a killed process does.
func crashed(t *testing.T, ask Ask) {
	t.Helper()
	listenAs(t, ask)()
	if !exists(ask.Address) {
		t.Fatal("there is no stale path")
	}
}

func TestStalePathIsReplaced(t *testing.T) {
	forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
		crashed(t, ask)
		before := len(helpertest.OpenDescriptors())
		s := newSet(t)
		sock := openAsk(t, s, ask)
		if !reaches(t, sock.Addr()) {
			t.Error("the new socket does not have the path")
		}
		if now := len(helpertest.OpenDescriptors()); now != before+1 {
			t.Errorf("%d descriptors more, want that of the socket alone", now-before)
		}
		must(t, sock.Close())
		if exists(ask.Address) {
			t.Error("the path is left over")
		}
	})
}

func TestStaleRelativePathIsReplaced(t *testing.T) {
	t.Chdir(sockDir(t))
	crashed(t, Ask{Network: "unix", Address: "s"})
	open(t, newSet(t), "unix", "s")
}

func TestLivePathIsKept(t *testing.T) {
	forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
		listenAs(t, ask)
		checkPathIsTaken(t, ask, "a process is listening on "+ask.Address)
		if !reaches(t, &net.UnixAddr{Name: ask.Address, Net: ask.Network}) {
			t.Error("the path of a live process was taken from it")
		}
	})
}

// checkPathIsTaken asserts that a path cannot be opened and that the error says why.
func checkPathIsTaken(t *testing.T, ask Ask, says string) {
	t.Helper()
	s := newSet(t)
	before := len(helpertest.OpenDescriptors())
	_, err := s.Open(t.Context(), ask)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v; want an error that matches EADDRINUSE and says %q", err, says)
	}
	if now := len(helpertest.OpenDescriptors()); now != before {
		t.Errorf("%d descriptors are left", now-before)
	}
}

// A socket of another kind cannot be asked whether it is alive, so it counts as alive.
func TestLivePathOfAnotherKindIsKept(t *testing.T) {
	for network, other := range map[string]string{"unix": "unixgram", "unixgram": "unix"} {
		path := sockPath(t)
		listenAs(t, Ask{Network: other, Address: path})
		checkPathIsTaken(t, Ask{Network: network, Address: path}, path)
		if !reaches(t, &net.UnixAddr{Name: path, Net: other}) {
			t.Errorf("a %s path was taken by %s", other, network)
		}
	}
}

// A busy server whose queue is full refuses connections for the moment, but is alive.
func TestLivePathWithFullQueueIsKept(t *testing.T) {
	path := sockPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	must(t, unix.Listen(fd, 0))
	for range 64 {
		client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		must(t, err)
		unix.CloseOnExec(client)
		defer unix.Close(client)
		must(t, unix.SetNonblock(client, true))
		if unix.Connect(client, &unix.SockaddrUnix{Name: path}) != nil {
			break
		}
	}
	was, err := os.Lstat(path)
	must(t, err)
	s := newSet(t)
	_, err = s.Open(t.Context(), Ask{Network: "unix", Address: path})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(was, now) {
		t.Errorf("the path was taken from a busy server: %v", err)
	}
}

func TestFileAtPathIsKept(t *testing.T) {
	forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
		must(t, os.WriteFile(ask.Address, []byte("mine"), 0o600))
		checkPathIsTaken(t, ask, ask.Address+" is not a socket")
		if got, err := os.ReadFile(ask.Address); err != nil || string(got) != "mine" {
			t.Errorf("the file is gone: %v", err)
		}
	})
}

func TestDirectoryAtPathIsKept(t *testing.T) {
	path := sockPath(t)
	must(t, os.Mkdir(path, 0o700))
	checkPathIsTaken(t, Ask{Network: "unix", Address: path}, path+" is not a socket")
	if !exists(path) {
		t.Error("the directory is gone")
	}
}

// A link to a socket is not replaced: whoever made it wants the socket at its target.
func TestLinkAtPathIsKept(t *testing.T) {
	target := sockPath(t)
	crashed(t, Ask{Network: "unix", Address: target})
	path := sockPath(t)
	must(t, os.Symlink(target, path))
	checkPathIsTaken(t, Ask{Network: "unix", Address: path}, path+" is not a socket")
	if !exists(path) || !exists(target) {
		t.Error("the link or its target is gone")
	}
}

func TestStalePathThatIsLockedIsWaitedFor(t *testing.T) {
	ask := Ask{Network: "unix", Address: sockPath(t)}
	crashed(t, ask)
	unlock, err := lockDir(t.Context(), filepath.Dir(ask.Address))
	must(t, err)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newSet(t)
	result := make(chan error, 1)
	go func() { // ends with Open
		_, err := s.Open(ctx, ask)
		result <- err
	}()
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
	unlock()
	openAsk(t, s, ask)
}

// Anyone who can read a directory can lock it, and then neither keeps a service from its path nor
// has a file removed.
func TestLockThatIsNeverReleased(t *testing.T) {
	ask := Ask{Network: "unix", Address: sockPath(t)}
	dir := filepath.Dir(ask.Address)
	unlock, err := lockDir(t.Context(), dir)
	must(t, err)
	defer unlock()
	began := time.Now()
	must(t, openAsk(t, newSet(t), ask).Close())
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	crashed(t, ask)
	checkPathIsTaken(t, ask, "lock "+dir+": another process has held the lock for 1s")
	if !exists(ask.Address) {
		t.Error("the path was removed without the lock")
	}
}

// Open does not wait for a writer of a FIFO in place of the directory.
func TestDirectoryThatIsAFIFO(t *testing.T) {
	fifo := sockPath(t)
	must(t, unix.Mkfifo(fifo, 0o600))
	_, err := newSet(t).Open(t.Context(), Ask{Network: "unix", Address: filepath.Join(fifo, "s")})
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v, want ENOTDIR", err)
	}
}

// A directory that cannot be read cannot be locked. A socket can be bound there, but a file in its
// way is not removed: another process may just have bound it.
func TestPathInUnreadableDirectory(t *testing.T) {
	dir := sockDir(t)
	ask := Ask{Network: "unix", Address: filepath.Join(dir, "s")}
	must(t, os.Chmod(dir, 0o300))
	if f, err := os.Open(dir); err == nil {
		must(t, f.Close())
		t.Skip("this user can read any directory")
	}
	s := newSet(t)
	must(t, openAsk(t, s, ask).Close())
	crashed(t, ask)
	checkPathIsTaken(t, ask, dir)
	if !exists(ask.Address) {
		t.Error("the path was removed without a lock")
	}
}

// startRace lets many Sets of one process open a path at the same instant and returns the sockets
// that got it.
func startRace(t *testing.T, ask Ask) (winners []*Socket) {
	t.Helper()
	const n = 16
	begin := make(chan struct{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		s := newSet(t)
		wg.Go(func() {
			<-begin
			sock, err := s.Open(t.Context(), ask)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, sock)
			} else if !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("a loser got %v, want EADDRINUSE", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	return winners
}

// If several services start at once on one path, one gets it and the others fail. If two believed
// that they had it, one of them would wait for clients forever.
func TestPathHasOneWinner(t *testing.T) {
	for _, stale := range []bool{true, false} {
		for range 30 {
			ask := Ask{Network: "unix", Address: sockPath(t)}
			if stale {
				crashed(t, ask)
			}
			winners := startRace(t, ask)
			if len(winners) != 1 || !reaches(t, winners[0].Addr()) {
				t.Fatalf("stale path: %t: %d sockets were opened on one path", stale, len(winners))
			}
		}
	}
}

func init() { helpertest.Register("race", raceHelper) }

// raceHelper opens a path when its standard input ends, prints whether it got it, and holds it
// until descriptor 3 ends.
func raceHelper() error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	_, err := New().Open(context.Background(),
		Ask{Network: "unix", Address: os.Getenv("FDS_TEST_PATH")})
	if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(err == nil); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.NewFile(First, "held"))
	return err
}

func TestPathHasOneWinnerAmongProcesses(t *testing.T) {
	for i := range 6 {
		ask := Ask{Network: "unix", Address: sockPath(t)}
		if i%2 == 0 {
			crashed(t, ask)
		}
		begin, beginWrite, err := os.Pipe()
		must(t, err)
		held, heldWrite, err := os.Pipe()
		must(t, err)
		var racers []*helper
		for range 8 {
			racer := start{
				helper: "race", env: []string{"FDS_TEST_PATH=" + ask.Address},
				stdin: begin, files: []uintptr{held.Fd()},
			}
			racers = append(racers, racer.run(t))
		}
		must(t, errors.Join(begin.Close(), held.Close(), beginWrite.Close()))
		winners := 0
		for _, racer := range racers {
			if racer.won(t) {
				winners++
			}
		}
		if winners != 1 || !reaches(t, &net.UnixAddr{Name: ask.Address, Net: ask.Network}) {
			t.Errorf("%d of %d processes got the path", winners, len(racers))
		}
		must(t, heldWrite.Close())
	}
}

// won reads the helper's result while it still runs.
func (h *helper) won(t *testing.T) (won bool) {
	t.Helper()
	must(t, json.NewDecoder(h.out).Decode(&won))
	return won
}

// Between bind(2) and listen(2) a socket looks like a stale one. The lock on the directory covers
// both calls.
func TestPathThatIsBoundAndNotYetListening(t *testing.T) {
	path := sockPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	unlock, err := lockDir(t.Context(), filepath.Dir(path))
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	s := newSet(t)
	result := make(chan error, 1)
	go func() { // ends with Open
		_, err := s.Open(context.Background(), Ask{Network: "unix", Address: path})
		result <- err
	}()
	select {
	case err := <-result:
		t.Errorf("Open did not wait for the lock: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	must(t, unix.Listen(fd, 1))
	unlock()
	if err := <-result; !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
}
