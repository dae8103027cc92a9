// Package spawn starts a program without holding up the process that starts it.
//
// Package syscall uses vfork(2): until the kernel has opened the program, the calling thread stands
// still and keeps its processor from the Go scheduler, so that the next garbage collection stops all
// goroutines. On a local disk that takes less than a millisecond, but seconds if the file comes from
// a network or through FUSE, or if a scanner looks at it first.
//
// Here the child shares the memory of this process too, so it is as cheap, but nobody waits for it:
// it makes a list of system calls that was prepared before, and its own stack is not used. The child
// has closed all descriptors that are not for the program before it opens the program, so that a
// connection which this process closes meanwhile is closed.
package spawn

// Program describes a program to start.
type Program struct {
	Path string
	Args []string // beginning with the program's name
	Env  []string
	Dir  string // "" for the present one
	// Files become the program's descriptors 0, 1, 2 and so on; the number None leaves one closed.
	// It gets no others.
	Files []uintptr
	// Keep are descriptors through which Path leads. They are close-on-exec, and their numbers are
	// higher than any that Files needs in the child, see Spare.
	Keep []uintptr
}

// None stands for no descriptor.
const None = ^uintptr(0)

// Spare returns a number such that neither it nor any higher one is used in the child of a program
// with these files before the program is executed.
func Spare(files []uintptr) int {
	top := len(files)
	for _, fd := range files {
		if fd != None {
			top = max(top, int(fd)+1)
		}
	}
	return top + moves(files)
}

// moves returns how many files are in the way of another.
func moves(files []uintptr) (n int) {
	for i, fd := range files {
		if inTheWay(i, fd) {
			n++
		}
	}
	return n
}

// inTheWay reports whether file i has the number of one that gets its place first.
func inTheWay(i int, fd uintptr) bool { return fd != None && int(fd) < i }
