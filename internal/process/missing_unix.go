//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// explainFile says which file an error is about: execve(2) returns ENOENT, ENOTDIR, EACCES and
// ENOEXEC for the program, its directory, an interpreter of it and a directory to change to.
func explainFile(spec Spec, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.EACCES):
		if dirErr := checkDir(spec.Dir); dirErr != nil {
			return fmt.Errorf("%w: the directory in which it is to start cannot be entered (%w): "+
				"restore it, or set another one by WithDir", err, dirErr)
		}
		return explainProgram(spec, err)
	case errors.Is(err, syscall.ENOEXEC):
		return explainFormat(spec, err)
	}
	return err
}

// checkDir returns an error unless this process can change to the directory.
func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	_, err := os.Stat(dir + "/.") // needs the right to search it
	return err
}

// program returns the path at which the program can be read.
func (s Spec) program() string {
	if s.Executable != nil {
		return s.Executable.Path()
	}
	return s.Path
}

// explainProgram tells a missing program from a missing interpreter.
func explainProgram(spec Spec, err error) error {
	path := spec.program()
	info, statErr := os.Stat(path)
	if statErr != nil {
		return err // it names the program
	}
	if errors.Is(err, syscall.EACCES) && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
		return fmt.Errorf("%w: it is not an executable file (%s)", err, info.Mode())
	}
	f, formatErr := readFormat(path)
	if formatErr != nil || f.interpreter == "" {
		return fmt.Errorf("%w: it exists (%s): does a mount forbid to execute it (noexec)?",
			err, info.Mode())
	}
	what, advice := "the dynamic loader", "install it, or link the program statically"
	if f.script {
		what, advice = "the interpreter of this script", "install it, or correct the first line"
	}
	if _, statErr := os.Stat(f.interpreter); statErr != nil {
		return fmt.Errorf("%w: %s, %q, is missing: %s", err, what, f.interpreter, advice)
	}
	return fmt.Errorf("%w: it or %s, %q, cannot be executed: check the modes and mount options of "+
		"both", err, what, f.interpreter)
}

// explainFormat says why a file is not a program for this machine.
func explainFormat(spec Spec, err error) error {
	f, formatErr := readFormat(spec.program())
	switch {
	case formatErr != nil:
		return fmt.Errorf("%w: %w", err, formatErr)
	case f.script:
		return fmt.Errorf("%w: it is a script, and its interpreter %q is not a program",
			err, f.interpreter)
	case f.machine == "":
		return fmt.Errorf("%w: it is neither a program nor a script that begins with \"#!\"", err)
	}
	return fmt.Errorf("%w: it is for another processor or system, or damaged: "+
		"build it for this one", err)
}
