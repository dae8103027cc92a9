//go:build unix

package pidfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFile(t *testing.T) File { return File{Path: filepath.Join(t.TempDir(), "pid")} }

func checkContent(t *testing.T, f File, pid int) {
	t.Helper()
	got, err := os.ReadFile(f.Path)
	if want := strconv.Itoa(pid) + "\n"; err != nil || string(got) != want {
		t.Errorf("the file has %q, %v; want %q", got, err, want)
	}
}

// names lists the directory of a file.
func names(t *testing.T, f File) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(f.Path))
	must(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// within fails the test if the call blocks.
func within(t *testing.T, what string, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }() // ends with the call, or with the failed test
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatalf("%s blocks", what)
		return nil
	}
}

func TestFileLivesAndIsRemoved(t *testing.T) {
	f := newFile(t)
	must(t, f.Name(4711))
	must(t, f.Remove()) // it names another process
	checkContent(t, f, 4711)
	must(t, f.Restore())
	checkContent(t, f, os.Getpid())
	if info, err := os.Stat(f.Path); err != nil || info.Mode() != 0o644 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	must(t, f.Remove())
	must(t, f.Remove()) // it is gone already
	if got := names(t, f); len(got) > 0 {
		t.Errorf("there are %q", got)
	}
}

// What others have put in the place of the file neither blocks a process nor is taken for its file,
// and a link does not lead the process elsewhere.
func TestOtherThingsInPlaceOfTheFile(t *testing.T) {
	ours := strconv.Itoa(os.Getpid())
	for what, put := range map[string]func(path string) error{
		"a FIFO": func(path string) error { return unix.Mkfifo(path, 0o666) },
		"a link to a FIFO": func(path string) error {
			return errors.Join(unix.Mkfifo(path+".fifo", 0o666), os.Symlink(path+".fifo", path))
		},
		"a link to our number": func(path string) error {
			return errors.Join(os.WriteFile(path+".to", []byte(ours), 0o600),
				os.Symlink(path+".to", path))
		},
		"a link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"a link to itself":   func(path string) error { return os.Symlink(path, path) },
		"a huge file": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(ours+"\n"), 0o600),
				os.Truncate(path, 1<<40))
		},
		"other text": func(path string) error {
			return os.WriteFile(path, []byte(ours+" and more"), 0o600)
		},
		"a socket": func(path string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd))
		},
	} {
		f := newFile(t)
		must(t, put(f.Path))
		was, err := os.Lstat(f.Path)
		must(t, err)
		if err := within(t, "Remove of "+what, f.Remove); err != nil {
			t.Errorf("Remove of %s: %v", what, err)
		}
		if now, err := os.Lstat(f.Path); err != nil || !os.SameFile(was, now) {
			t.Errorf("%s was removed: %v", what, err)
		}
		must(t, within(t, "Restore of "+what, f.Restore))
		checkContent(t, f, os.Getpid())
	}
}

func TestDirectoryInPlaceOfTheFile(t *testing.T) {
	f := newFile(t)
	must(t, os.Mkdir(f.Path, 0o700))
	must(t, f.Remove())
	if err := f.Write(); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("Write returns %v", err)
	}
	if got := names(t, f); !slices.Equal(got, []string{"pid"}) {
		t.Errorf("it has left %q", got)
	}
}

// A process that is killed while it writes leaves a file that the next one removes. What may belong
// to somebody else stays.
func TestLeftoversAreRemoved(t *testing.T) {
	f := newFile(t)
	leave := func(name, content string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(filepath.Dir(f.Path), name), []byte(content), 0o600))
	}
	leave(".pid.1", "")
	leave(".pid.2", "47")
	leave(".pid.3", "4711\n")
	kept := []string{".pid.4", ".pid.5", ".pid.6", ".pid.conf", ".pid2.7", "pid", "pid.8"}
	leave(".pid.4", "not a number")
	must(t, unix.Mkfifo(filepath.Join(filepath.Dir(f.Path), ".pid.5"), 0o600))
	leave(".pid.6", strings.Repeat("1", 100))
	leave(".pid.conf", "1")
	leave(".pid2.7", "1")
	leave("pid.8", "1")
	must(t, within(t, "Write", f.Write))
	if got := names(t, f); !slices.Equal(got, kept) {
		t.Errorf("there are %q, want %q", got, kept)
	}
	checkContent(t, f, os.Getpid())
}

// A file that another process is just writing is locked, and stays.
func TestTemporaryFileInUseStays(t *testing.T) {
	f := newFile(t)
	tmp, err := os.Create(f.leftoverPrefix() + "1")
	must(t, err)
	defer tmp.Close()
	must(t, tryLock(tmp))
	must(t, f.Write())
	if got := names(t, f); !slices.Equal(got, []string{".pid.1", "pid"}) {
		t.Errorf("there are %q", got)
	}
}

// Several processes may write the file at once: the last one wins, and nobody fails.
func TestConcurrentWrites(t *testing.T) {
	f := newFile(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := f.Write(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	checkContent(t, f, os.Getpid())
	if got := names(t, f); !slices.Equal(got, []string{"pid"}) {
		t.Errorf("there are %q", got)
	}
}

// Some file systems cannot sync a directory, and a directory that may be written to need not be
// readable.
func TestDirectoryThatCannotBeSynced(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err == nil {
		d, err := os.Open("/proc/self")
		must(t, err)
		defer d.Close()
		if err := d.Sync(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("the sync of a directory of procfs returns %v", err)
		}
		must(t, syncDir("/proc/self"))
	}
	if err := ignoreUnsupported(syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Errorf("a broken disk goes unnoticed: %v", err)
	}
	f := newFile(t)
	must(t, os.Chmod(filepath.Dir(f.Path), 0o300))
	must(t, f.Write())
	checkContent(t, f, os.Getpid())
	must(t, os.Chmod(filepath.Dir(f.Path), 0o700)) // for the end of the test
}
