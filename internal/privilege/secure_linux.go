package privilege

import "golang.org/x/sys/unix"

// atSecure is AT_SECURE in the auxiliary vector, see getauxval(3).
const atSecure = 23

// secure asks the auxiliary vector that the runtime has found beside the arguments: without /proc.
func secure() bool {
	vector, err := unix.Auxv()
	if err != nil {
		return false // the ids tell most of it
	}
	for _, entry := range vector {
		if entry[0] == atSecure {
			return entry[1] != 0
		}
	}
	return false
}
