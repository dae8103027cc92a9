package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// initialNamespace is the link /proc/PID/ns/pid of every process outside of containers: the number
// is fixed, see PROC_PID_INIT_INO in include/linux/proc_ns.h.
const initialNamespace = "pid:[4026531836]"

// inits are programs that stay as PID 1 whatever becomes of their children: real inits, supervisors
// that start other processes, and programs that only adopt orphans.
var inits = []string{
	"systemd", "init", "openrc-init", "runit", "runit-init", "s6-svscan", "s6-linux-init", "finit",
	"dinit", "procd", "shepherd", "supervisord", "pause", "sleep", "tail", "cat",
}

// waiters are programs that exit with the process that they have started. A shell is one unless a
// person uses it.
var waiters = []string{
	"tini", "tini-static", "dumb-init", "docker-init", "catatonit", "podman-init", "lxc-init",
	"sudo", "su", "runuser", "doas", "timeout",
}

var shells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox"}

// engines are the programs of container engines that start the first process of a container. The
// kernel cuts names after 15 bytes.
var engines = []string{"containerd-shim", "docker-containe", "conmon", "conmonrs"}

func reason() string { return root("/proc").reason() }

// root is the directory of a proc file system, see proc(5). All numbers of processes are those in
// its PID namespace, which need not be that of this process.
type root string

// reason follows the processes that exit when this one does, up to one whose exit ends the
// container.
func (r root) reason() string {
	self, ok := r.process("self")
	namespace, err := os.Readlink(filepath.Join(string(r), "self/ns/pid"))
	if !ok || err != nil {
		return ""
	}
	var chain []string
	for p := self; ; {
		if p.parent == 0 {
			return r.foreign(self)
		}
		parent, ok := r.process(strconv.Itoa(p.parent))
		switch {
		case !ok || parent.depth < self.depth:
			return ""
		case slices.Contains(engines, parent.name):
			return fmt.Sprintf("the container engine (%s) waits for it", parent.name)
		case parent.number == 1 && namespace == initialNamespace:
			return ""
		}
		chain = append(chain, fmt.Sprintf("%s (PID %d)", parent.program(), parent.number))
		switch {
		case parent.number == 1 && parent.stays(), parent.number != 1 && !parent.waits():
			return ""
		case parent.number == 1:
			return strings.Join(chain, " and ") + " would exit with it"
		}
		p = parent
	}
}

// foreign judges a process whose parent is outside of its PID namespace: the first of a container
// that shares the namespace of another one, whose other processes the engine kills at its end. A
// process that was started in a container that runs (docker exec) has a cgroup with PID 1.
func (r root) foreign(self status) string {
	first, ok := r.process("1")
	if !ok || self.number == 1 || self.cgroup == "" || first.cgroup == "" ||
		first.cgroup == self.cgroup {
		return ""
	}
	return "a container engine has started it in the PID namespace of another container (" +
		first.program() + ") and waits for it"
}

// status is what a proc file system says about a process.
type status struct {
	name   string
	parent int // 0 if it is outside of the PID namespace of the proc file system
	number int // in the process's own PID namespace
	depth  int // of that namespace, below that of the proc file system
	args   []string
	cgroup string
	atTerm bool // it has a controlling terminal
}

func (r root) process(pid string) (s status, ok bool) {
	dir := filepath.Join(string(r), pid)
	content, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return s, false
	}
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case len(fields) == 0:
		case key == "Name":
			s.name = strings.TrimSpace(value)
		case key == "PPid":
			s.parent, err = strconv.Atoi(fields[0])
		case key == "NSpid":
			s.depth = len(fields)
			s.number, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	// What cannot be read tells nothing, and the process counts as one that stays.
	cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	s.args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	s.cgroup = string(cgroup)
	stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
	s.atTerm = hasTerminal(string(stat))
	return s, err == nil && s.number > 0
}

// hasTerminal reads tty_nr in a stat file, see proc_pid_stat(5). The name of the program comes
// before it, and may contain anything.
func hasTerminal(stat string) bool {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return len(fields) > 4 && fields[4] != "0"
}

// program returns the name of the program: the kernel names a script and not its interpreter.
func (s status) program() string {
	if shell := strings.TrimPrefix(filepath.Base(s.args[0]), "-"); slices.Contains(shells, shell) {
		return shell
	}
	return s.name
}

// stays reports whether PID 1 goes on when a process ends that it has started. Those that are
// unknown do not: most exit too, or start another process beside the successor.
func (s status) stays() bool {
	if slices.Contains(shells, s.program()) {
		return s.isInteractive()
	}
	return slices.Contains(inits, s.name) || strings.HasPrefix(s.name, "init(") // WSL
}

// waits reports whether the process, which is not PID 1, exits with the one that it has started.
// Those that are unknown do not.
func (s status) waits() bool {
	if slices.Contains(shells, s.program()) {
		return !s.isInteractive()
	}
	return slices.Contains(waiters, s.name)
}

// isInteractive reports whether a person uses a shell: it has a terminal, and neither a script nor
// commands (-c) to execute. Without a terminal it reads a script from its standard input.
func (s status) isInteractive() bool {
	return s.atTerm && !slices.ContainsFunc(s.args[1:], func(arg string) bool {
		long := strings.HasPrefix(arg, "--")
		return !strings.HasPrefix(arg, "-") || !long && strings.Contains(arg, "c")
	})
}
