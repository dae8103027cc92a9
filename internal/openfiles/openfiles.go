// Package openfiles knows the limit on open files (RLIMIT_NOFILE) with which this process was
// started.
//
// Package syscall raises the soft limit when it is initialized, restores it in the children that it
// starts, and does not tell what it was (golang.org/issue/46279). This package is initialized
// before that: it imports nothing, and so is the first of all packages, sorted by their paths, that can be
// ("Program initialization" in the language's specification).
package openfiles
