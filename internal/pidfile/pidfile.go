// Package pidfile keeps the number of the serving process in a file.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// File names the serving process. The zero value is no file: its methods do nothing.
type File struct{ Path string }

// Write puts this process into the file.
func (f File) Write() error { return f.Name(os.Getpid()) }

// Name puts a process into the file: all of the content or none, even after a crash of the machine.
func (f File) Name(pid int) error {
	if f.Path == "" {
		return nil
	}
	if err := f.replace(pid); err != nil {
		return fmt.Errorf("write PID file: %w", err)
	}
	return nil
}

func (f File) replace(pid int) error {
	dir := filepath.Dir(f.Path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(f.Path)+".*")
	if err != nil {
		return err
	}
	err = fill(tmp, pid)
	if err == nil {
		err = os.Rename(tmp.Name(), f.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(dir)
}

// fill writes the temporary file and closes it.
func fill(tmp *os.File, pid int) error {
	_, err := fmt.Fprintln(tmp, pid)
	return errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
}

// syncDir makes a rename in the directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		err = nil // Windows, and some file systems: a directory cannot be synced
	}
	return errors.Join(err, d.Close())
}

// Restore writes the file again if it does not name this process.
func (f File) Restore() error {
	if f.Path == "" || f.namesUs() {
		return nil
	}
	return f.Write()
}

// Remove removes the file if it still names this process.
func (f File) Remove() error {
	if f.Path == "" || !f.namesUs() {
		return nil
	}
	if err := os.Remove(f.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove PID file: %w", err)
	}
	return nil
}

func (f File) namesUs() bool {
	content, err := os.ReadFile(f.Path)
	return err == nil && string(bytes.TrimSpace(content)) == strconv.Itoa(os.Getpid())
}
