package state

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A finished file can neither be changed nor executed through its descriptor.
func TestFinishedFileIsSealed(t *testing.T) {
	w, err := Create()
	f := write(t, w, err, named{"a", []byte("data")})
	defer f.Close()
	has, err := control(f, unix.F_GET_SEALS, 0)
	must(t, err)
	if want := seals | unix.F_SEAL_SEAL; has&want != want {
		t.Errorf("the seals are %#x, without some of %#x", has, want)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a sealed file was written to")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("a sealed file was truncated")
	}
	if flags, err := control(f, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %d, %v: other children would have the file", flags, err)
	}
}

func TestUnsealedMemoryIsRefused(t *testing.T) {
	f, err := memfd()
	must(t, err)
	f = write(t, newWriter(f, func(*os.File) error { return nil }), nil, named{"a", []byte("data")})
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "not sealed") {
		t.Errorf("got %v", err)
	}
}

// A temporary file in memory cannot be sealed at all.
func TestTemporaryFileOnTmpfs(t *testing.T) {
	var fs unix.Statfs_t
	if unix.Statfs("/dev/shm", &fs) != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skip("there is no tmpfs at /dev/shm")
	}
	dir, err := os.MkdirTemp("/dev/shm", "grace")
	must(t, err)
	defer func() { must(t, os.RemoveAll(dir)) }()
	t.Setenv("TMPDIR", dir)
	f, seal, err := tempFile()
	must(t, err)
	file, err := Open(write(t, newWriter(f, seal), nil, named{"a", []byte("data")}))
	must(t, err)
	must(t, file.Close())
}

func TestPipeIsRefused(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	if _, err := Open(r); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("got %v", err)
	}
	if r.Close() == nil {
		t.Error("the pipe was left open")
	}
}
