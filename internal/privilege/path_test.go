//go:build unix

package privilege

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes dir/real/file, and dir/link, which leads to real.
func tree(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "dir")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Chmod(filepath.Dir(dir), 0o700)) // whatever the umask is
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "real", "file"), nil, 0o700))
	must(t, os.Symlink("real", filepath.Join(dir, "link")))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPathThatOthersCanTurn(t *testing.T) {
	within := func(name string, mode os.FileMode) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, name), mode)) }
	}
	for _, c := range []struct {
		what, path string
		prepare    func(t *testing.T, dir string)
		culprit    string // "" if the path is safe
	}{
		{"own directories", "real/file", nil, ""},
		{"an own link", "link/file", nil, ""},
		{"names that mean nothing", "./real/../link/./file", nil, ""},
		{"a sticky directory", "link/file", within("real", 0o777|os.ModeSticky), ""},
		{"a group's directory", "real/file", within("real", 0o775), "real"},
		{"everybody's directory behind a link", "link/file", within("real", 0o757), "real"},
		{"everybody's directory of the link", "link/file", within("", 0o777), "."},
		{"everybody's directory on a way back", "real/../link/file", within("real", 0o777), "real"},
		{"a group's file", "link/file", within("real/file", 0o770), "real/file"},
		{"nothing", "real/other", nil, "real/other"},
		{"a link to itself", "loop", func(t *testing.T, dir string) {
			must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
		}, "loop"},
		{"an absolute link", "absolute", func(t *testing.T, dir string) {
			must(t, os.Symlink(filepath.Join(dir, "real", "file"), filepath.Join(dir, "absolute")))
		}, ""},
		{"a link out of everybody's directory", "shared/link", func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "shared"), 0o700))
			must(t, os.Chmod(filepath.Join(dir, "shared"), 0o777))
			must(t, os.Symlink("../real/file", filepath.Join(dir, "shared", "link")))
		}, "shared"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := tree(t)
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			err := CheckPath(dir + "/" + c.path)
			if c.culprit == "" && err != nil || c.culprit != "" && (err == nil ||
				!strings.Contains(err.Error(), filepath.Join(dir, c.culprit)+" ") &&
					!strings.Contains(err.Error(), filepath.Join(dir, c.culprit)+":")) {
				t.Errorf("CheckPath returned %v, and the culprit is %q", err, c.culprit)
			}
		})
	}
}

// Every directory, link and file counts by its owner.
func TestPathOfAnotherUser(t *testing.T) {
	dir := tree(t)
	everybody := []int{0, os.Geteuid()}
	must(t, checkPath(dir+"/link/file", everybody))
	if os.Geteuid() != 0 {
		if err := checkPath(dir+"/link/file", []int{0}); err == nil ||
			!strings.Contains(err.Error(), "belongs to the user ") {
			t.Errorf("in directories of another user, checkPath returned %v", err)
		}
		return
	}
	for _, name := range []string{"real", "real/file", "link", "."} {
		path := filepath.Join(dir, name)
		must(t, os.Lchown(path, 4711, -1))
		if err := checkPath(dir+"/link/file", everybody); err == nil ||
			!strings.HasPrefix(err.Error(), path+" belongs to the user 4711") {
			t.Errorf("with %s of another user, checkPath returned %v", path, err)
		}
		must(t, checkPath(dir+"/link/file", append(everybody, 4711)))
		must(t, os.Lchown(path, 0, -1))
	}
}

// Who starts a set-group-ID file is not trusted, although the process has his user ID.
func TestOwnersThatCount(t *testing.T) {
	for _, c := range []struct {
		uid, euid, gid, egid int
		want                 []int
	}{
		{1000, 1000, 1000, 1000, []int{0, 1000}}, // usual, or by file capabilities
		{1000, 33, 1000, 1000, []int{0, 33}},     // set-user-ID
		{1000, 1000, 1000, 60, []int{0}},         // set-group-ID
		{1000, 33, 1000, 33, []int{0, 33}},       // both
	} {
		if got := owners(c.uid, c.euid, c.gid, c.egid); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestRelativePathIsRefused(t *testing.T) {
	if err := CheckPath("file"); err == nil {
		t.Error("it was accepted")
	}
}

func TestDelegated(t *testing.T) {
	if Delegated([]string{"HOME=/root", "SUDOKU=1", "SUDO=x"}) || Delegated(nil) {
		t.Error("an ordinary environment is taken for that of sudo")
	}
	for _, entry := range []string{"SUDO_UID=1", "DOAS_USER=me", "PKEXEC_UID=1", "SUDO_USER="} {
		if !Delegated([]string{"HOME=/root", entry}) {
			t.Errorf("%s is not noticed", entry)
		}
	}
}

func TestHarmless(t *testing.T) {
	env := []string{
		"A=1", "LD_PRELOAD=/tmp/x.so", "LD_AUDIT=", "GLIBC_TUNABLES=a", "GCONV_PATH=.", "LDX=1",
	}
	if got := Harmless(env); !slices.Equal(got, []string{"A=1", "LDX=1"}) || env[1] == "" {
		t.Errorf("left: %q", got)
	}
}
