// Package pidfile keeps the number of the serving process in a file.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// File names the serving process. The zero value is no file: its methods do nothing.
type File struct{ Path string }

// Write puts this process into the file.
func (f File) Write() error { return f.Name(os.Getpid()) }

// Name puts a process into the file: all of the content or none, even after a crash of the machine.
// It replaces whatever is at the path, except for a directory.
func (f File) Name(pid int) error {
	if f.Path == "" {
		return nil
	}
	f.removeLeftovers()
	if err := f.replace(pid); err != nil {
		return fmt.Errorf("write PID file: %w", err)
	}
	return nil
}

// replaceTries is more often than other processes of the service can start at once.
const replaceTries = 10

// replace tries again if another process took the temporary file for a leftover.
func (f File) replace(pid int) (err error) {
	for range replaceTries {
		if err = f.replaceOnce(pid); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return err
}

func (f File) replaceOnce(pid int) error {
	dir := filepath.Dir(f.Path)
	tmp, err := os.CreateTemp(dir, filepath.Base(f.leftoverPrefix())+"*")
	if err != nil {
		return err
	}
	err = fill(tmp, pid)
	if err == nil {
		err = os.Rename(tmp.Name(), f.Path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it may be gone, and the next process tries again
		return err
	}
	return syncDir(dir)
}

// fill writes the temporary file and closes it. It locks it meanwhile, if it can: others do not
// take it for a leftover.
func fill(tmp *os.File, pid int) error {
	_ = tryLock(tmp)
	_, err := fmt.Fprintln(tmp, pid)
	return errors.Join(err, tmp.Chmod(0o644), ignoreUnsupported(tmp.Sync()), tmp.Close())
}

// syncDir makes a rename in the directory last. A directory that cannot be opened for reading can
// be written to all the same.
func syncDir(dir string) error {
	d, err := os.OpenFile(dir, os.O_RDONLY|openDirectory, 0)
	if err != nil {
		return ignoreUnsupported(err)
	}
	return errors.Join(ignoreUnsupported(d.Sync()), d.Close())
}

// ignoreUnsupported returns nil for an error that says that this file cannot be synced at all, as
// on Windows and on some file systems: fsync(2) then fails with EINVAL, for example.
func ignoreUnsupported(err error) error {
	for _, harmless := range []error{
		errors.ErrUnsupported, os.ErrPermission, syscall.EINVAL, syscall.EBADF, syscall.EROFS,
	} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	return err
}

// leftoverPrefix begins the paths of temporary files, which continue with digits.
func (f File) leftoverPrefix() string {
	return filepath.Join(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".")
}

// removeLeftovers removes the temporary files of processes that were killed while they wrote them.
// Those that another process writes are locked, and where files cannot be locked, all stay.
func (f File) removeLeftovers() {
	entries, _ := os.ReadDir(filepath.Dir(f.Path)) // of a directory that cannot be read, all stay
	prefix := f.leftoverPrefix()
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(f.Path), e.Name())
		if len(path) > len(prefix) && path[:len(prefix)] == prefix && isDigits(path[len(prefix):]) {
			removeLeftover(path)
		}
	}
}

func isDigits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

func removeLeftover(path string) {
	tmp, err := openRegular(path)
	if err != nil {
		return
	}
	defer tmp.Close() //nolint:errcheck // nothing is written
	if content, err := readShort(tmp); err == nil && isNumber(content) && tryLock(tmp) == nil {
		_ = os.Remove(path)
	}
}

// isNumber also accepts what was not written to the end.
func isNumber(content []byte) bool {
	return len(content) == 0 || isDigits(string(bytes.TrimSpace(content)))
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

// namesUs never blocks, whatever others have put in the place of the file.
func (f File) namesUs() bool {
	file, err := openRegular(f.Path)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // nothing is written
	content, err := readShort(file)
	return err == nil && string(bytes.TrimSpace(content)) == strconv.Itoa(os.Getpid())
}

// errOther is why a path is not looked at further.
var errOther = errors.New("not a regular file")

// openRegular opens a regular file for reading, and nothing else: the open of a FIFO waits for a
// writer, and that of a device may do anything.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errOther, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openHarmless, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errOther, err, f.Close())
	}
	return f, nil
}

// maxContent is more than the longest number and the end of its line take.
const maxContent = 32

// readShort returns the content of a file, or an error if it is longer than that of a PID file.
func readShort(f *os.File) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(f, maxContent+1))
	if err == nil && len(content) > maxContent {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), maxContent)
	}
	return content, err
}
