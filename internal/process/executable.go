package process

import (
	"errors"
	"fmt"
	"os"
)

// Executable is a program that this process looks at before it starts it.
//
// On Linux it is one open file, which the path of Path leads to and which [Start] executes, whatever has taken its name
// meanwhile. Elsewhere a program can be executed by its path alone; Unchanged then tells another file from this one, but not
// one that was there for a moment only.
//
// The nil Executable is none: nothing has to be closed, and it never changes.
type Executable struct {
	path   string // for those who read it
	lookUp func() (os.FileInfo, error)
	info   os.FileInfo // when it was opened
	file   *os.File    // nil where a program is executed by its path
}

// OpenExecutable opens a program. The caller closes it; a process that it was started as does not need it any more.
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

// inspect says why something cannot be a program, where the kernel would say less.
func (e *Executable) inspect(path string) (err error) {
	if e.info, err = e.lookUp(); err != nil {
		return err
	}
	switch mode := e.info.Mode(); {
	case mode.IsDir():
		return fmt.Errorf("%s is a directory, and no program", path)
	case !mode.IsRegular():
		return fmt.Errorf("%s is no regular file, and so no program: %s", path, mode)
	case mode.Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable (%s): %w", path, mode, os.ErrPermission)
	}
	return e.startable(path)
}

// Path is where this process can read the program until Close is called.
func (e *Executable) Path() string { return e.path }

// Unchanged returns an error if the program was written to since it was opened, or is another file by now. After a start it
// proves that what was read is what was started, since nobody can write to a program that is executed.
func (e *Executable) Unchanged() error {
	if e == nil {
		return nil
	}
	now, err := e.lookUp()
	if err != nil {
		return err
	}
	if !os.SameFile(e.info, now) || now.Size() != e.info.Size() || !now.ModTime().Equal(e.info.ModTime()) {
		return errors.New("the program was changed while it was checked: install a new one under another name, and rename it")
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
