package grace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// pidFile names the serving process; the zero value is no file.
type pidFile struct{ path string }

// write puts this process into the file.
func (p pidFile) write() error { return p.name(os.Getpid()) }

// name puts a process into the file: all of the content or none, also after a crash of the machine.
func (p pidFile) name(pid int) error {
	if p.path == "" {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(p.path), "."+filepath.Base(p.path)+".*")
	if err != nil {
		return fmt.Errorf("write PID file: %w", err)
	}
	if err := fillPIDFile(tmp, pid); err != nil {
		return errors.Join(fmt.Errorf("write PID file: %w", err), os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), p.path); err != nil {
		return errors.Join(fmt.Errorf("write PID file: %w", err), os.Remove(tmp.Name()))
	}
	if err := syncDir(filepath.Dir(p.path)); err != nil {
		return fmt.Errorf("write PID file: %w", err)
	}
	return nil
}

// fillPIDFile writes the temporary file, and closes it.
func fillPIDFile(f *os.File, pid int) error {
	_, err := fmt.Fprintln(f, pid)
	return errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
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

// restore writes the file again if it does not name this process.
func (p pidFile) restore() error {
	if p.path == "" || p.namesUs() {
		return nil
	}
	return p.write()
}

// remove removes the file if it still names this process.
func (p pidFile) remove() error {
	if p.path == "" || !p.namesUs() {
		return nil
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove PID file: %w", err)
	}
	return nil
}

func (p pidFile) namesUs() bool {
	content, err := os.ReadFile(p.path)
	return err == nil && string(bytes.TrimSpace(content)) == strconv.Itoa(os.Getpid())
}
