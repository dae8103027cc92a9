//go:build unix

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// program makes an executable file.
func program(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	must(t, os.WriteFile(path, []byte(content), 0o600))
	must(t, os.Chmod(path, 0o755))
	return path
}

// linked returns an ELF program for this machine that wants a dynamic loader, as far as that is
// looked at.
func linked(loader string) string {
	const headers, segments = 64, 56
	e := make([]byte, headers+segments)
	copy(e, "\x7fELF\x02\x01\x01")
	machine := map[string]byte{"amd64": 62, "arm64": 183, "riscv64": 243}[runtime.GOARCH]
	e[16], e[18], e[20] = 2, machine, 1 // ET_EXEC
	e[32], e[52], e[54], e[56] = headers, headers, segments, 1
	p := e[headers:]
	p[0], p[4], p[8] = 3, 4, headers+segments // PT_INTERP
	p[32], p[40] = byte(len(loader)+1), byte(len(loader)+1)
	return string(e) + loader + "\x00"
}

// execve(2) says only that something is missing, or may not be executed.
func TestErrorsOfStartNameTheFile(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	must(t, os.WriteFile(closed, nil, 0o600))
	for _, c := range []struct {
		what, content string
		errno         syscall.Errno
		want          string
	}{
		{"interpreter", "#! /opt/none/python3 -x\n", syscall.ENOENT,
			`the interpreter of this script, "/opt/none/python3", is missing`},
		{"interpreter with a carriage return", "#!/bin/sh\r\n", syscall.ENOENT, `"/bin/sh\r"`},
		{"interpreter that is not executable", "#!" + closed + "\n", syscall.EACCES, closed},
		{"loader", linked("/lib/ld-none.so.1"), syscall.ENOENT,
			`the dynamic loader, "/lib/ld-none.so.1", is missing`},
		{"format", "neither", syscall.ENOEXEC, `neither a program nor a script`},
		{"empty file", "", syscall.ENOEXEC, `neither a program nor a script`},
		{"other machine", "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 60), syscall.ENOEXEC,
			"another processor"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if strings.HasPrefix(c.content, "\x7fELF") && linked("")[18] == 0 {
				t.Skip("the test knows no such program for this processor")
			}
			path := program(t, c.content)
			_, err := Start(context.Background(), Spec{Path: path, Args: []string{path}})
			if !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("Start returned %v", err)
			}
		})
	}
}

func TestErrorsOfStartNameTheDirectory(t *testing.T) {
	file := program(t, "#!/bin/sh\n")
	for dir, errno := range map[string]syscall.Errno{
		filepath.Join(t.TempDir(), "gone"): syscall.ENOENT, file: syscall.ENOTDIR,
	} {
		_, err := Start(context.Background(), Spec{Path: file, Args: []string{file}, Dir: dir})
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), dir) ||
			!strings.Contains(err.Error(), "WithDir") {
			t.Errorf("Start in %s returned %v", dir, err)
		}
	}
}

func TestErrorsOfStartTellWhatIsNotExecutable(t *testing.T) {
	path := program(t, "#!/bin/sh\n")
	must(t, os.Chmod(path, 0o600))
	for _, path := range []string{path, t.TempDir()} {
		_, err := Start(context.Background(), Spec{Path: path, Args: []string{path}})
		if !errors.Is(err, syscall.EACCES) ||
			!strings.Contains(err.Error(), "not an executable file") {
			t.Errorf("Start returned %v", err)
		}
	}
}

// A file that was not made by a linker, or only in part, is no danger.
func FuzzReadFormat(f *testing.F) {
	f.Add("")
	f.Add("#!")
	f.Add("#!/bin/sh -e\nexit")
	f.Add(linked("/lib/ld.so"))
	f.Add(linked("/lib/ld.so")[:70])
	f.Add("\x7fELF\x01\x02" + strings.Repeat("\xff", 120))
	f.Fuzz(func(t *testing.T, content string) {
		got, err := parseFormat(strings.NewReader(content))
		if err != nil && !errors.Is(err, errFormat) {
			t.Error(err)
		}
		zero := strings.ContainsRune(got.interpreter, 0)
		if len(got.interpreter) > maxPath || zero && !got.script {
			t.Errorf("the interpreter is %q", got.interpreter)
		}
	})
}
