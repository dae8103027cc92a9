//go:build linux

package grace

import (
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"
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
	dir := newDirectory(t)
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

// grow prepends to PATH, as a program may that installs tools beside itself.
func grow(_ context.Context, env []string) ([]string, error) {
	for _, e := range env {
		if old, ok := strings.CutPrefix(e, "PATH="); ok {
			return append(env, "PATH=/srv/bin:"+old, envMark+"=once"), nil
		}
	}
	return env, nil
}

// Every generation's WithEnv extends the environment of the first process, and its word counts.
func TestEnvironmentDoesNotGrow(t *testing.T) {
	c := tcpOnly
	c.Grow, c.Env = true, []string{"PATH=/usr/bin", "EMPTY="}
	s := start(t, "lines", c)
	for range 5 {
		s.upgrade()
		if got := s.ask("env PATH"); got != `"/srv/bin:/usr/bin"` {
			t.Errorf("generation %d has PATH=%s", s.newest(), got)
		}
	}
	if got := s.ask("env " + envMark); got != `"once"` {
		t.Errorf("the variable that was added is %s", got)
	}
}

// retitle overwrites the memory of arguments and environment, as packages do that set the title of a process.
func retitle() string {
	for _, s := range append(os.Args, os.Environ()...) {
		memory := unsafe.Slice(unsafe.StringData(s), len(s))
		for i := range memory {
			memory[i] = 'X'
		}
	}
	return os.Args[0]
}

func TestTitleThatOverwritesTheArguments(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "service")
	copyBinary(t, path)
	c := tcpOnly
	c.Start, c.Dir, c.Args, c.Env = path, dir, []string{"one", "two"}, []string{envMark + "=kept"}
	s := start(t, "lines", c)
	if got := s.ask("retitle"); strings.Trim(got, "X") != "" {
		t.Fatalf("the program is now called %q", got)
	}
	s.upgrade()
	var after struct {
		Exe, Dir, Mark string
		Args           []string
	}
	decode(t, s.ask("exe"), &after)
	if after.Exe != path || after.Dir != dir || after.Mark != "kept" || strings.Join(after.Args, "|") != path+"|one|two" {
		t.Errorf("the successor has %+v", after)
	}
}

// A directory that is gone is still that of the process, and of its successors.
func TestDirectoryThatIsGone(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"removed":    os.Remove,
		"renamed":    func(dir string) error { return os.Rename(dir, dir+".old") },
		"closed":     func(dir string) error { return os.Chmod(dir, 0) },
		"replaced":   func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) },
		"unreadable": func(dir string) error { return os.Chmod(filepath.Dir(dir), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := startIn(t)
			t.Cleanup(func() { _ = os.Chmod(filepath.Dir(dir), 0o700) })
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			s.upgrade()
			s.upgrade()
		})
	}
}

// startIn starts a service in a directory of its own.
func startIn(t *testing.T) (s *service, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "above", "release")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := tcpOnly
	c.Dir = dir
	return start(t, "lines", c), dir
}

func TestDirectoryThatIsGoneAndWasLeft(t *testing.T) {
	s, dir := startIn(t)
	s.ask("wander")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := s.ask("upgrade"); !strings.Contains(got, dir) || !strings.Contains(got, "WithDir") {
		t.Errorf("Upgrade returned %q", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
}

// A dynamic loader that was told to start the program is not what successors execute.
func TestStartByTheDynamicLoader(t *testing.T) {
	c := tcpOnly
	c.Start, c.Via, c.Args = filepath.Join(t.TempDir(), "service"), dynamicLoader(t), []string{"one"}
	copyBinary(t, c.Start)
	s := start(t, "lines", c)
	for range 2 {
		copyBinary(t, c.Start)
		s.upgrade()
		if got := s.executes(); got != c.Start {
			t.Errorf("the successor executes %s", got)
		}
	}
}

// dynamicLoader returns that of this binary, or skips the test.
func dynamicLoader(t *testing.T) string {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s := f.Section(".interp"); s != nil {
		path, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimRight(string(path), "\x00")
	}
	if os.Getenv("GRACE_REQUIRE_LOADER") != "" {
		t.Fatal("needs a test binary that is linked dynamically")
	}
	t.Skip("needs a test binary that is linked dynamically")
	return ""
}

// A relative path leads to the same link in the directory of WithDir.
func TestRelativePathInAnotherDirectory(t *testing.T) {
	first, second, link := releases(t)
	c := tcpOnly
	c.Start, c.Dir = "./"+filepath.Base(link), filepath.Dir(link)
	c.NextArgs, c.NextDir = []string{}, newDirectory(t)
	s := start(t, "lines", c)
	s.upgrade()
	if got := s.executes(); got != first {
		t.Errorf("the second generation executes %s", got)
	}
	turn(t, link, second)
	s.upgrade()
	if got := s.executes(); got != second {
		t.Errorf("the third generation executes %s", got)
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
