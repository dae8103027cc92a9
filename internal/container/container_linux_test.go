package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const inner = "pid:[4026532177]"

// fakeProcess is a directory of a proc file system.
type fakeProcess struct {
	pid     string
	name    string
	parent  string
	ns      string // the numbers in all namespaces; "" is pid
	cmdline string // with spaces
	cgroup  string // "" is that of the container
}

// fakeRoot makes a proc file system in which the first process is this one.
func fakeRoot(t *testing.T, namespace string, all []fakeProcess) root {
	t.Helper()
	dir := t.TempDir()
	for _, p := range all {
		if p.ns == "" {
			p.ns = p.pid
		}
		if p.cgroup == "" {
			p.cgroup = "0::/\n"
		}
		write(t, filepath.Join(dir, p.pid, "status"),
			"Name:\t"+p.name+"\nUmask:\t0022\nPPid:\t"+p.parent+"\nNSpid:\t"+p.ns+"\nThreads:\t1\n")
		write(t, filepath.Join(dir, p.pid, "cmdline"),
			strings.ReplaceAll(p.cmdline, " ", "\x00")+"\x00")
		write(t, filepath.Join(dir, p.pid, "cgroup"), p.cgroup)
		write(t, filepath.Join(dir, p.pid, "stat"), stat(p, "34816"))
	}
	must(t, os.Symlink(all[0].pid, filepath.Join(dir, "self")))
	must(t, os.Mkdir(filepath.Join(dir, "self", "ns"), 0o700))
	must(t, os.Symlink(namespace, filepath.Join(dir, "self", "ns", "pid")))
	return root(dir)
}

// stat returns a file that says at which terminal the process is; 0 is none.
func stat(p fakeProcess, terminal string) string {
	return p.pid + " (" + p.name + ") S " + p.parent + " 1 1 " + terminal + " -1 4194560"
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	app    = fakeProcess{pid: "7", name: "app", parent: "1", cmdline: "/app"}
	nested = fakeProcess{pid: "7", name: "app", parent: "6", cmdline: "/app"}
	exec   = fakeProcess{pid: "7", name: "app", parent: "0", cmdline: "/app"}
)

// A shell that reads a script from its standard input exits at its end, as with a script in a file.
func TestShellWithoutATerminal(t *testing.T) {
	shell := fakeProcess{"1", "ba) S sh", "0", "", "bash -s", ""}
	r := fakeRoot(t, inner, []fakeProcess{app, shell})
	if got := r.reason(); got != "" {
		t.Errorf("with a terminal: %s", got)
	}
	write(t, filepath.Join(string(r), "1", "stat"), stat(shell, "0"))
	if got, want := r.reason(), "bash (PID 1) would exit with it"; got != want {
		t.Errorf("without one: %q, want %q", got, want)
	}
}

// The facts are those that real containers and inits show.
func TestReason(t *testing.T) {
	for what, tt := range map[string]struct {
		namespace string
		all       []fakeProcess
		want      string // "" if nothing ends with this process
	}{
		"tini": {inner, []fakeProcess{app, {"1", "tini", "0", "", "tini -- /app", ""}},
			"tini (PID 1) would exit with it"},
		"docker run --init": {inner,
			[]fakeProcess{app, {"1", "docker-init", "0", "", "/sbin/docker-init -- /app", ""}},
			"docker-init (PID 1) would exit with it"},
		"dumb-init": {inner, []fakeProcess{app, {"1", "dumb-init", "0", "", "dumb-init /app", ""}},
			"dumb-init (PID 1) would exit with it"},
		"catatonit": {inner,
			[]fakeProcess{app, {"1", "catatonit", "0", "", "catatonit -- /app", ""}},
			"catatonit (PID 1) would exit with it"},
		"sh -c": {inner, []fakeProcess{app, {"1", "sh", "0", "", "/bin/sh -c /app", ""}},
			"sh (PID 1) would exit with it"},
		"bash -ec": {inner, []fakeProcess{app, {"1", "bash", "0", "", "bash -ec /app", ""}},
			"bash (PID 1) would exit with it"},
		"a script": {inner,
			[]fakeProcess{app, {"1", "entrypoint.sh", "0", "", "/bin/sh /entrypoint.sh /app", ""}},
			"sh (PID 1) would exit with it"},
		"an unknown init": {inner, []fakeProcess{app, {"1", "bwrap", "0", "", "bwrap /app", ""}},
			"bwrap (PID 1) would exit with it"},
		"the stub init of systemd-nspawn": {inner,
			[]fakeProcess{app, {"1", "(sd-stubinit)", "0", "", "/app", ""}},
			"(sd-stubinit) (PID 1) would exit with it"},
		"a script behind tini": {inner, []fakeProcess{nested,
			{"6", "run.sh", "1", "", "/bin/bash /run.sh", ""},
			{"1", "tini", "0", "", "tini -- /run.sh", ""}},
			"bash (PID 6) and tini (PID 1) would exit with it"},
		"sudo behind sh": {inner, []fakeProcess{nested,
			{"6", "sudo", "1", "", "sudo -u www /app", ""},
			{"1", "sh", "0", "", "sh -c sudo -u www /app; true", ""}},
			"sudo (PID 6) and sh (PID 1) would exit with it"},
		"a shared namespace": {inner, []fakeProcess{exec,
			{"1", "pause", "0", "", "/pause", "0::/../0bd1\n"}},
			"a container engine has started it in the PID namespace of another container (pause)" +
				" and waits for it"},
		"tini in a shared namespace": {inner, []fakeProcess{nested,
			{"6", "tini", "0", "", "tini -- /app", ""},
			{"1", "pause", "0", "", "/pause", "0::/../0bd1\n"}},
			"a container engine has started it in the PID namespace of another container (pause)" +
				" and waits for it"},
		"the host's namespace": {initialNamespace, []fakeProcess{nested,
			{"6", "containerd-shim", "1", "", "/usr/bin/containerd-shim-runc-v2 -id 1", ""},
			{"1", "systemd", "0", "", "/sbin/init", ""}},
			"the container engine (containerd-shim) waits for it"},
		"tini, seen from outside": {inner, []fakeProcess{
			{"4711", "app", "4710", "4711 7", "/app", ""},
			{"4710", "tini", "4700", "4710 1", "tini -- /app", ""}},
			"tini (PID 1) would exit with it"},

		"a host": {initialNamespace, []fakeProcess{
			app, {"1", "systemd", "0", "", "/sbin/init", ""},
		}, ""},
		"another init": {initialNamespace, []fakeProcess{
			app, {"1", "strange", "0", "", "/strange", ""},
		}, ""},
		"sh on a host": {initialNamespace, []fakeProcess{
			app, {"1", "sh", "0", "", "sh -c /app", ""},
		}, ""},
		"tini of a unit": {initialNamespace, []fakeProcess{nested,
			{"6", "tini", "1", "", "tini -- /app", ""},
			{"1", "systemd", "0", "", "/sbin/init", ""}}, ""},
		"systemd in a container": {inner,
			[]fakeProcess{app, {"1", "systemd", "0", "", "/sbin/init", ""}}, ""},
		"WSL": {inner, []fakeProcess{
			app, {"1", "init(Ubuntu)", "0", "", "/init", ""},
		}, ""},
		"supervisord": {inner, []fakeProcess{
			app, {"1", "supervisord", "0", "", "python supervisord", ""},
		}, ""},
		"s6": {inner, []fakeProcess{
			nested, {"6", "s6-supervise", "1", "", "s6-supervise app", ""},
			{"1", "s6-svscan", "0", "", "s6-svscan", ""},
		}, ""},
		"an orphan": {inner, []fakeProcess{
			app, {"1", "sleep", "0", "", "sleep infinity", ""},
		}, ""},
		"docker run -it bash": {inner, []fakeProcess{app, {"1", "bash", "0", "", "bash", ""}}, ""},
		"docker run -it sh": {inner, []fakeProcess{
			app, {"1", "sh", "0", "", "-sh -l --norc", ""},
		}, ""},
		"docker exec": {inner, []fakeProcess{
			exec, {"1", "tini", "0", "", "tini -- other", ""},
		}, ""},
		"a shell of docker exec": {inner, []fakeProcess{nested, {"6", "bash", "0", "", "bash", ""},
			{"1", "tini", "0", "", "tini -- other", ""}}, ""},
		"a job of cron": {inner, []fakeProcess{nested, {"6", "crond", "1", "", "crond -f", ""},
			{"1", "tini", "0", "", "tini -- crond -f", ""}}, ""},
		"a test run": {inner, []fakeProcess{nested, {"6", "go", "1", "", "go test ./...", ""},
			{"1", "tini", "0", "", "tini -- go test ./...", ""}}, ""},
		"PID 1":           {inner, []fakeProcess{{"1", "app", "0", "", "/app", ""}}, ""},
		"a hidden parent": {inner, []fakeProcess{app}, ""},
		"unshare without -f": {inner, []fakeProcess{{"4711", "app", "4710", "4711 7", "/app", ""},
			{"4710", "bash", "4700", "4710", "bash -c /app", ""}}, ""},
	} {
		if got := fakeRoot(t, tt.namespace, tt.all).reason(); got != tt.want {
			t.Errorf("%s: got %q, want %q", what, got, tt.want)
		}
	}
}

// Without a proc file system, or in an old one, nothing can be told.
func TestReasonThatCannotBeTold(t *testing.T) {
	if got := root(t.TempDir()).reason(); got != "" {
		t.Errorf("without /proc the reason is %q", got)
	}
	tini := fakeProcess{"1", "tini", "0", "", "tini -- /app", ""}
	r := fakeRoot(t, inner, []fakeProcess{app, tini})
	write(t, filepath.Join(string(r), "7", "status"), "Name:\tapp\nPPid:\t1\n")
	if got := r.reason(); got != "" {
		t.Errorf("without NSpid (before Linux 4.1) the reason is %q", got)
	}
}
