//go:build unix

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// copySelf returns a copy of this binary that the test can change.
func copySelf(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(os.Args[0])
	must(t, err)
	path := filepath.Join(t.TempDir(), "program")
	must(t, os.WriteFile(path, content, 0o700))
	return path
}

func openedExecutable(t *testing.T, path string) *Executable {
	t.Helper()
	e, err := OpenExecutable(path)
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	return e
}

func TestExecutableIsReadByItsPath(t *testing.T) {
	path := copySelf(t)
	e := openedExecutable(t, path)
	want, err := os.Stat(path)
	must(t, err)
	got, err := os.Stat(e.Path())
	must(t, err)
	if !os.SameFile(got, want) {
		t.Errorf("%s is not %s", e.Path(), path)
	}
}

func TestExecutableThatChanges(t *testing.T) {
	for what, change := range map[string]func(path string) error{
		"is written to": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		},
		"is touched": func(path string) error {
			return os.Chtimes(path, time.Time{}, time.Unix(1, 0))
		},
		"is cut off": func(path string) error { return os.Truncate(path, 100) },
	} {
		path := copySelf(t)
		e := openedExecutable(t, path)
		must(t, e.Unchanged())
		must(t, change(path))
		spec := helperSpec(t, "exit", "0")
		spec.Path, spec.Executable = path, e
		if _, err := start(context.Background(), spec); err == nil || !strings.Contains(err.Error(), "was changed") {
			t.Errorf("a program that %s: %v", what, err)
		}
	}
}

func TestNoExecutableNeverChanges(t *testing.T) {
	var none *Executable
	must(t, none.Unchanged())
	must(t, none.Close())
}

func TestOpenOfWhatIsNoExecutable(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	must(t, os.WriteFile(plain, []byte("content"), 0o600))
	before := len(helpertest.OpenDescriptors())
	for path, want := range map[string]string{
		plain:                                "is not executable",
		filepath.Join(t.TempDir(), "absent"): "no such file",
		t.TempDir():                          "is a directory",
		os.DevNull:                           "not a regular file",
	} {
		if _, err := OpenExecutable(path); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want an error that names it and says %q", path, err, want)
		}
	}
	if now := len(helpertest.OpenDescriptors()); now != before {
		t.Errorf("%d descriptors are left", now-before)
	}
}
