package process

import (
	"errors"
	"fmt"
	"os"
)

// Executable is a program that this process checks before it starts it.
//
// On Linux it is an open file, which can be read at Path and which [Start] executes even if another
// file has taken its name meanwhile. Elsewhere a program can only be executed by its path.
// Unchanged then detects another file at the path, but not one that was there only between two
// checks.
//
// A nil Executable is valid: it never changes, and Close does nothing.
type Executable struct {
	path   string // at which others can read it
	lookUp func() (os.FileInfo, error)
	info   os.FileInfo // when it was opened
	file   *os.File    // nil if the program is executed by its path
}

// placed says where a child finds the program.
type placed struct {
	path    string
	keep    []uintptr // descriptors through which the path leads
	release func()    // to be called when the child has begun
}

// OpenExecutable opens a program. The caller closes it. A process that was started from it no
// longer needs it.
func OpenExecutable(path string) (*Executable, error) {
	e, err := openExecutable(path)
	if err != nil {
		return nil, err
	}
	if err := e.inspect(path); err != nil {
		_ = e.Close() // opened for reading
		return nil, err
	}
	return e, nil
}

// inspect returns an error for a file that cannot be a program. It is more specific than the
// kernel's.
func (e *Executable) inspect(path string) (err error) {
	if e.info, err = e.lookUp(); err != nil {
		return err
	}
	switch mode := e.info.Mode(); {
	case mode.IsDir():
		return fmt.Errorf("%s is a directory, not a program", path)
	case !mode.IsRegular():
		return fmt.Errorf("%s is not a regular file (%s), so it cannot be a program", path, mode)
	case mode.Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable (%s): %w", path, mode, os.ErrPermission)
	}
	return e.checkStartable(path)
}

// Path returns a path at which this process can read the program until Close.
func (e *Executable) Path() string { return e.path }

// Unchanged returns an error if the program was written to after it was opened, or if another file
// has replaced it. After a start it proves that the program that was read is the one that was
// started, because a running program cannot be written to.
func (e *Executable) Unchanged() error {
	if e == nil {
		return nil
	}
	now, err := e.lookUp()
	if err != nil {
		return err
	}
	if !os.SameFile(e.info, now) || now.Size() != e.info.Size() ||
		!now.ModTime().Equal(e.info.ModTime()) {
		return errors.New("the program was changed while it was checked: " +
			"install a new one under another name, and then rename it")
	}
	return nil
}

// Close closes the file. It can be called more than once.
func (e *Executable) Close() error {
	if e == nil || e.file == nil {
		return nil
	}
	err := e.file.Close()
	e.file = nil
	return err
}
