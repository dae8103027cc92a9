//go:build linux

package grace

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// copyBinary puts this test binary at a path, as an installer would: as a new file, renamed over an old one.
func copyBinary(t *testing.T, path string) {
	t.Helper()
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close(), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// executes returns the file that the serving process executes.
func (s *service) executes() string {
	s.t.Helper()
	var status struct{ Exe string }
	decode(s.t, s.ask("exe"), &status)
	return status.Exe
}

// startFrom starts a service by a path of its own.
func startFrom(t *testing.T, path string) *service {
	t.Helper()
	c := tcpOnly
	c.Start = path
	return start(t, "lines", c)
}

func TestSymlinkIsFollowedAgain(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		copyBinary(t, filepath.Join(dir, v))
	}
	link := filepath.Join(dir, "current")
	if err := os.Symlink("v1", link); err != nil {
		t.Fatal(err)
	}
	s := startFrom(t, link)
	if err := errors.Join(os.Symlink("v2", link+".new"), os.Rename(link+".new", link)); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
	if got := s.executes(); got != filepath.Join(dir, "v2") {
		t.Errorf("the successor executes %s", got)
	}
}

// The kernel calls the file of the running process "... (deleted)" once another has taken its name.
func TestReplacedFileIsWhatStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service")
	copyBinary(t, path)
	s := startFrom(t, path)
	for range 2 {
		copyBinary(t, path)
		if got := s.executes(); got != path+" (deleted)" {
			t.Errorf("before the upgrade, %s is executed", got)
		}
		s.upgrade()
		if got := s.executes(); got != path {
			t.Errorf("after the upgrade, %s is executed", got)
		}
	}
}

func TestBadExecutableLeavesTheOldProcessServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service")
	copyBinary(t, path)
	s := startFrom(t, path)
	_, pid := s.serving()
	for name, c := range map[string]struct {
		make func() error
		want string
	}{
		"missing":        {func() error { return os.Remove(path) }, "no such file"},
		"no program":     {func() error { return os.WriteFile(path, []byte("neither ELF nor script"), 0o755) }, "exec format error"},
		"not executable": {func() error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o600)) }, "permission denied"},
	} {
		_ = os.Remove(path)
		_ = c.make()
		if got := s.ask("upgrade"); !strings.Contains(got, c.want) || !strings.Contains(got, path) || !strings.Contains(got, string(StepStart)) {
			t.Errorf("%s: Upgrade returned %q", name, got)
		}
		if _, now := s.serving(); now != pid {
			t.Errorf("%s: process %d serves", name, now)
		}
	}
	copyBinary(t, path)
	s.upgrade()
}

// A file that is still being written cannot be executed yet (ETXTBSY, golang.org/issue/22315).
func TestBusyExecutableIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service")
	copyBinary(t, path)
	s := startFrom(t, path)
	writer, err := os.OpenFile(path+".busy", os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		_, err = writer.Write(content)
	}
	if err := errors.Join(err, os.Rename(path+".busy", path)); err != nil {
		t.Fatal(err)
	}
	if got := s.ask("upgrade 500ms"); !strings.Contains(got, "text file busy") {
		t.Errorf("Upgrade returned %q while the file was open for writing", got)
	}
	time.AfterFunc(50*time.Millisecond, func() { writer.Close() })
	s.upgrade()
}

// Arguments, directory and environment are those of the start, whatever the program has changed since.
func TestSuccessorStartsAsTheFirstDid(t *testing.T) {
	dir := t.TempDir()
	c := tcpOnly
	c.Dir, c.Args = dir, []string{"one", "two words", ""}
	s := start(t, "lines", c)
	type seen struct {
		Args []string
		Dir  string
		Mark string
	}
	var before, after seen
	decode(t, s.ask("exe"), &before)
	s.ask("wander") // changes its directory and its environment
	s.upgrade()
	decode(t, s.ask("exe"), &after)
	if strings.Join(after.Args, "|") != strings.Join(before.Args, "|") || after.Dir != dir || after.Mark != before.Mark {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// What WithArgs, WithDir and WithEnv say is what successors get.
func TestOptionsForSuccessors(t *testing.T) {
	dir := t.TempDir()
	c := tcpOnly
	c.NextArgs, c.NextDir, c.NextMark = []string{"x", "y"}, dir, "new secret"
	s := start(t, "lines", c)
	s.upgrade()
	var after struct {
		Args []string
		Dir  string
		Mark string
	}
	decode(t, s.ask("exe"), &after)
	if strings.Join(after.Args[1:], "|") != "x|y" || after.Dir != dir || after.Mark != c.NextMark {
		t.Errorf("the successor has %+v", after)
	}
	if got := s.census().Env; len(got) > 0 {
		t.Errorf("variables are left over: %v", got)
	}
}
