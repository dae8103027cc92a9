//go:build unix

package privilege

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// CheckPath returns an error unless nobody but root and the effective user of this process can make
// the absolute path lead to another file. It looks at the owner and the mode of the root directory,
// of each directory and symbolic link on the way, also behind the links, and of the file. Access
// control lists need no look: they are limited by the bits of the group.
//
// With a group from a set-group-ID file, the effective user is the one who has started the process,
// and does not count.
func CheckPath(file string) error {
	return checkPath(file, owners(os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid()))
}

// owners returns the users who may turn a path of a process with these ids.
func owners(uid, euid, gid, egid int) []int {
	if uid == euid && gid != egid {
		return []int{0}
	}
	return []int{0, euid}
}

func checkPath(file string, trusted []int) error {
	w := walk{trusted: trusted, at: "/", left: split(file)}
	if !path.IsAbs(file) {
		return fmt.Errorf("%s is not absolute", file)
	}
	_, err := w.visit("/")
	for err == nil && len(w.left) > 0 {
		err = w.step()
	}
	return err
}

// maxLinks is how many symbolic links Linux follows on one path.
const maxLinks = 40

// walk follows a path, one name at a time.
type walk struct {
	trusted []int    // user IDs
	at      string   // a path without links and without ".."
	left    []string // names to follow
	links   int      // followed so far
}

func split(file string) []string {
	return slices.DeleteFunc(strings.Split(file, "/"), func(name string) bool {
		return name == "" || name == "."
	})
}

func (w *walk) step() error {
	name := w.left[0]
	w.left = w.left[1:]
	next := path.Join(w.at, name) // also for "..", because w.at has no links
	info, err := w.visit(next)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		w.at = next
		return nil
	}
	return w.follow(next)
}

func (w *walk) follow(link string) error {
	target, err := os.Readlink(link)
	if err != nil {
		return err
	}
	if w.links++; w.links > maxLinks {
		return &fs.PathError{Op: "follow", Path: link, Err: syscall.ELOOP}
	}
	if path.IsAbs(target) {
		w.at = "/"
	}
	w.left = append(split(target), w.left...)
	return nil
}

// visit returns an error if someone else can replace what is at the path, or an entry of it.
func (w *walk) visit(at string) (os.FileInfo, error) {
	info, err := os.Lstat(at)
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !slices.Contains(w.trusted, int(st.Uid)) {
		return nil, fmt.Errorf("%s belongs to the user %d, who can replace it", at, st.Uid)
	}
	mode := info.Mode()
	sticky := mode.IsDir() && mode&fs.ModeSticky != 0 // then only the owner of an entry can
	if mode&fs.ModeSymlink == 0 && mode.Perm()&0o022 != 0 && !sticky {
		return nil, fmt.Errorf("%s can be changed by other users (%s)", at, mode)
	}
	return info, nil
}
