// Package privilege says what the user who has started this process could gain by it.
//
// Whoever starts a process chooses its arguments, the first of which is its own name, its
// environment and its descriptors. That is no danger while the process has the rights of that user.
// In a privileged start it has more, and must not execute or obey what the user has chosen.
package privilege

import (
	"os"
	"runtime"
	"slices"
	"strings"
)

// Elevated reports whether execve(2) has given this process rights that its parent may lack, by a
// set-user-ID or set-group-ID file or by file capabilities: AT_SECURE of getauxval(3), issetugid(2)
// on the BSDs. It stays so when the process drops these rights.
func Elevated() bool {
	return secure() || os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
}

// delegates are variables of programs that start another one as another user: sudo(8) and run0(1),
// doas(1), pkexec(1).
var delegates = []string{
	"SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND", "DOAS_USER", "PKEXEC_UID",
}

// Delegated reports whether the environment is that of a process which a user has started as
// another one. It can be missed, because such a program in between may clear the environment.
func Delegated(env []string) bool {
	return slices.ContainsFunc(env, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(delegates, name)
	})
}

// Harmless returns the environment without what makes a dynamic loader, which ignores it in an
// elevated process, run or read other files: see "Secure-execution mode" in ld.so(8). A process
// that makes its elevated rights its real ones starts others that are not elevated any longer.
func Harmless(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") ||
			name == "GCONV_PATH" || name == "GLIBC_TUNABLES"
	})
}

// KnowsFile reports whether the system tells which file this process executes. Elsewhere
// [os.Executable] goes by the name that the parent has chosen.
const KnowsFile = runtime.GOOS != "openbsd" && runtime.GOOS != "aix"
