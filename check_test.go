//go:build linux

package grace

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/wiring"
)

// SignatureCheck is the check of ExampleWithCheck, which is in the external test package.
var SignatureCheck func(ed25519.PublicKey) func(context.Context, string) error

// checkOrder is what a test tells the check of the next upgrade.
type checkOrder struct {
	Rename  [2]string         // a file, and the name that it is to take, before the program is looked at
	Mark    string            // that the program must end with
	Program string            // where it must lie
	Key     ed25519.PublicKey // of its signature
	Append  string            // a file to which something is added in place, when the program was looked at
	Hang    bool
	Refuse  string
}

// checkAsTold is the check of the line server.
func (c config) checkAsTold(ctx context.Context, path string) error {
	var order checkOrder
	text, err := os.ReadFile(c.CheckFile)
	if err == nil {
		err = json.Unmarshal(text, &order)
	}
	if err != nil {
		return err
	}
	if order.Rename[0] != "" {
		if err := os.Rename(order.Rename[0], order.Rename[1]); err != nil {
			return err
		}
	}
	if order.Mark != "" {
		if mark, err := markOf(path); err != nil || mark != order.Mark {
			return fmt.Errorf("the program is %q, %w", mark, err)
		}
	}
	if order.Program != "" {
		if lies, err := filepath.EvalSymlinks(path); err != nil || lies != order.Program {
			return fmt.Errorf("the program lies at %q, %w", lies, err)
		}
	}
	switch {
	case order.Key != nil:
		return SignatureCheck(order.Key)(ctx, path)
	case order.Hang:
		select {}
	case order.Append != "":
		return appendTo(order.Append, "more")
	case order.Refuse != "":
		return errors.New(order.Refuse)
	}
	return nil
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// checked is a service with a check that has a binary of its own.
type checked struct {
	*service
	t    *testing.T
	path string // of its binary
}

const markSize = 8

// installMarked installs the test binary, with something at its end that tells it from others.
func installMarked(t *testing.T, path, mark string) {
	t.Helper()
	copyBinary(t, path+".marked")
	if err := errors.Join(appendTo(path+".marked", fmt.Sprintf("%*s", markSize, mark)), os.Rename(path+".marked", path)); err != nil {
		t.Fatal(err)
	}
}

// markOf reads the end of a program.
func markOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	mark := make([]byte, markSize)
	_, err = f.ReadAt(mark, info.Size()-markSize)
	return strings.TrimSpace(string(mark)), err
}

// startChecked starts a service from a binary with the mark v1.
func startChecked(t *testing.T, c config) checked {
	t.Helper()
	s := checked{t: t, path: filepath.Join(t.TempDir(), "service")}
	installMarked(t, s.path, "v1")
	c.Start, c.CheckFile = s.path, filepath.Join(t.TempDir(), "check")
	order(t, c.CheckFile, checkOrder{})
	s.service = start(t, "lines", c)
	return s
}

func order(t *testing.T, checkFile string, o checkOrder) {
	t.Helper()
	if err := os.WriteFile(checkFile, []byte(toJSON(o)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s checked) tellCheck(o checkOrder) {
	s.t.Helper()
	order(s.t, s.config.CheckFile, o)
}

// runs fails the test unless the serving process executes the program with this mark.
func (s checked) runs(mark string) {
	s.t.Helper()
	_, pid := s.serving()
	if got, err := markOf(fmt.Sprintf("/proc/%d/exe", pid)); got != mark || err != nil {
		s.t.Errorf("the program %q serves, %v; want %q", got, err, mark)
	}
}

// refuses fails the test unless an upgrade fails at the step, with all of the texts in its error, and leaves the process as it was.
func (s checked) refuses(step Step, texts ...string) {
	s.t.Helper()
	generation, pid := s.serving()
	if generation > 1 {
		s.awaitParentExit(generation) // else the census may count what belongs to the parent
	}
	held := s.dial()
	defer held.Close()
	s.ask("census") // what the first one costs stays
	before := heldCensus(s.t, held)
	got := s.ask("upgrade")
	for _, text := range append(texts, "upgrade failed at "+string(step)) {
		if !strings.Contains(got, text) {
			s.t.Errorf("Upgrade returned %q, without %q", got, text)
		}
	}
	sameCensus(s.t, before, func() census { return heldCensus(s.t, held) })
	if _, now := s.serving(); now != pid {
		s.t.Errorf("process %d serves and not %d", now, pid)
	}
}

// cleanDescriptors fails the test if the program is open in the serving process.
func (s checked) cleanDescriptors() {
	s.t.Helper()
	for _, d := range s.census().Descriptors {
		if strings.HasPrefix(d, filepath.Dir(s.path)) {
			s.t.Errorf("the program is open: %s", d)
		}
	}
}

func TestRefusedProgramIsNotStarted(t *testing.T) {
	s := startChecked(t, tcpOnly)
	installMarked(t, s.path, "v2")
	s.tellCheck(checkOrder{Refuse: "the signature is wrong"})
	s.refuses(StepCheck, "the signature is wrong", s.path)
	if n := s.count(func(p printed) bool { return p.Event == "SuccessorStarted" }); n != 0 {
		t.Error("a refused program was started")
	}
	finished := s.Await("the end of the check", finished("CheckFinished", 0))
	if !strings.Contains(finished.Err, "the signature is wrong") {
		t.Errorf("the event says %+v", finished)
	}
	s.runs("v1")
	s.tellCheck(checkOrder{Mark: "v2", Program: s.path})
	s.upgrade()
	s.runs("v2")
	s.cleanDescriptors()
}

// What was checked is what is started, though its name leads elsewhere by then; the upgrade after that takes what is there.
func TestProgramThatIsReplacedDuringItsCheck(t *testing.T) {
	s := startChecked(t, tcpOnly)
	installMarked(t, s.path, "v2")
	installMarked(t, s.path+".evil", "evil")
	s.tellCheck(checkOrder{Mark: "v2", Rename: [2]string{s.path + ".evil", s.path}})
	s.upgrade()
	s.runs("v2")
	s.cleanDescriptors()
	s.tellCheck(checkOrder{Mark: "evil", Refuse: "evil"})
	s.refuses(StepCheck, "evil")
	installMarked(t, s.path, "v3")
	s.tellCheck(checkOrder{Mark: "v3"})
	s.upgrade()
	s.runs("v3")
}

func TestProgramThatIsWrittenToDuringItsCheck(t *testing.T) {
	s := startChecked(t, tcpOnly)
	installMarked(t, s.path, "v2")
	s.tellCheck(checkOrder{Append: s.path})
	s.refuses(StepStart, "was changed while it was checked", s.path)
	installMarked(t, s.path, "v3")
	s.tellCheck(checkOrder{})
	s.upgrade()
	s.runs("v3")
}

// A file that somebody has open for writing can be read and checked, and not executed.
func TestCheckedProgramThatIsBusy(t *testing.T) {
	s := startChecked(t, tcpOnly)
	installMarked(t, s.path, "v2")
	writer, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	s.refuses(StepStart, "text file busy")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
	s.runs("v2")
}

func TestCheckFollowsSymlinkAgain(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		installMarked(t, filepath.Join(dir, v), v)
	}
	link := filepath.Join(dir, "current")
	if err := os.Symlink("v1", link); err != nil {
		t.Fatal(err)
	}
	c := tcpOnly
	c.Start, c.CheckFile = link, filepath.Join(dir, "check")
	order(t, c.CheckFile, checkOrder{})
	s := checked{start(t, "lines", c), t, link}
	for _, v := range []string{"v2", "v1"} { // the second upgrade is that of a process that was started by its descriptor
		if err := errors.Join(os.Symlink(v, link+".new"), os.Rename(link+".new", link)); err != nil {
			t.Fatal(err)
		}
		s.tellCheck(checkOrder{Mark: v, Program: filepath.Join(dir, v)})
		s.upgrade()
		s.runs(v)
	}
}

// A process that was started by its descriptor is as any other for those who look at it.
func TestCheckedSuccessorLooksAsTheFirstDid(t *testing.T) {
	s := startChecked(t, tcpOnly)
	look := func() (args, name string) {
		_, pid := s.serving()
		argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return string(argv), string(comm)
	}
	args, name := look()
	s.upgrade()
	if gotArgs, gotName := look(); gotArgs != args || gotName != name || name == "" {
		t.Errorf("the successor is %q with %q, and the first process %q with %q", gotName, gotArgs, name, args)
	}
}

func TestCheckOfWhatIsNoProgram(t *testing.T) {
	s := startChecked(t, tcpOnly)
	for name, c := range map[string]struct {
		make func() error
		step Step
		want string
	}{
		"missing":        {func() error { return nil }, StepCheck, "no such file"},
		"directory":      {func() error { return os.Mkdir(s.path, 0o755) }, StepCheck, "is a directory"},
		"FIFO":           {func() error { return unix.Mkfifo(s.path, 0o755) }, StepCheck, "not a regular file"},
		"not executable": {func() error { return os.WriteFile(s.path, nil, 0o600) }, StepCheck, "not executable"},
		"script":         {func() error { return os.WriteFile(s.path, []byte("#!/bin/sh\n"), 0o755) }, StepCheck, "is a script"},
		"no program":     {func() error { return os.WriteFile(s.path, []byte("neither"), 0o755) }, StepStart, "exec format error"},
	} {
		if err := errors.Join(os.RemoveAll(s.path), c.make()); err != nil {
			t.Fatal(name, err)
		}
		s.refuses(c.step, c.want, s.path)
	}
	if err := os.RemoveAll(s.path); err != nil {
		t.Fatal(err)
	}
	installMarked(t, s.path, "v2")
	s.upgrade()
	s.runs("v2")
}

func TestCheckThatHangs(t *testing.T) {
	s := startChecked(t, tcpOnly)
	s.tellCheck(checkOrder{Hang: true})
	if got := s.cancelledAfter("CheckStarted"); !strings.Contains(got, "cancelled by the test") || !strings.Contains(got, string(StepCheck)) {
		t.Errorf("Upgrade returned %q", got)
	}
	s.cleanDescriptors()
	s.tellCheck(checkOrder{})
	s.upgrade()
	s.cleanDescriptors()
}

// The descriptor by which the program is executed is out of the way of those that the successor gets.
func TestCheckWithManySockets(t *testing.T) {
	const sockets = 200
	var c config
	for range sockets {
		c.Listen = append(c.Listen, tcpOnly.Listen...)
	}
	s := startChecked(t, c)
	for _, v := range []string{"v2", "v3"} {
		installMarked(t, s.path, v)
		s.tellCheck(checkOrder{Mark: v})
		s.upgrade()
		s.runs(v)
		s.cleanDescriptors()
	}
	var status struct{ Sockets int }
	decode(t, s.ask("status"), &status)
	if status.Sockets != sockets {
		t.Errorf("%d sockets have arrived", status.Sockets)
	}
}

// checkRig is a rig whose successors would execute this test binary.
func checkRig(t *testing.T, check func(context.Context, string) error) *rig {
	t.Helper()
	r := newRig(t, WithCheck(check))
	r.program.path = os.Args[0]
	return r
}

// The check comes after the hooks that release what only one process can hold, before the start, and may use the Manager.
func TestCheckInItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		refusal := errors.New("no")
		r = checkRig(t, func(ctx context.Context, _ string) error {
			r.called("check")
			ln, err := r.Listen(ctx, "tcp", "127.0.0.1:0") // would wait for the outcome, were the sockets lent
			if err != nil {
				return err
			}
			return errors.Join(ln.Close(), refusal)
		})
		if err := r.Upgrade(t.Context()); !errors.Is(err, refusal) || len(r.successors) != 0 {
			t.Errorf("Upgrade returned %v, with %d successors", err, len(r.successors))
		}
		if got, want := r.takeCalls(), "upgrade:a upgrade:b check failed:b failed:a"; got != want {
			t.Errorf("the order is %q, want %q", got, want)
		}
		refusal = nil
		if err := r.Upgrade(t.Context()); err != nil || len(r.successors) != 1 {
			t.Errorf("Upgrade returned %v, with %d successors", err, len(r.successors))
		}
		r.finish(t)
	})
}

// The last moment at which the program can be written to is while it is started. What then runs is ended.
func TestProgramThatIsWrittenToAtItsStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service")
	copyBinary(t, path)
	synctest.Test(t, func(t *testing.T) {
		r := checkRig(t, func(context.Context, string) error { return nil })
		r.program.path = path
		r.opts.wires.Launch = func(ctx context.Context, l wiring.Launch) (wiring.Child, wiring.Link, error) {
			c, link, err := r.launch(ctx, l)
			return c, link, errors.Join(err, appendTo(path, "more"))
		}
		err := r.Upgrade(t.Context())
		if err == nil || !strings.Contains(err.Error(), "was changed while it was checked") || !r.successors[0].killed {
			t.Errorf("Upgrade returned %v, and the successor was killed: %t", err, r.successors[0].killed)
		}
		r.finish(t)
	})
}

// What a function says that was interrupted is seldom why.
func TestCheckThatIsInterruptedTellsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interrupted := errors.New("signal: killed")
		r := checkRig(t, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return interrupted
		})
		if err := r.Upgrade(t.Context()); !errors.Is(err, ErrTimeout) || !errors.Is(err, interrupted) {
			t.Errorf("after a timeout, Upgrade returned %v", err)
		}
		cause := errors.New("not today")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if err := r.Upgrade(ctx); !errors.Is(err, cause) || !errors.Is(err, interrupted) {
			t.Errorf("after it was cancelled, Upgrade returned %v", err)
		}
		if len(r.successors) != 0 {
			t.Error("a successor was started")
		}
		r.finish(t)
	})
}

// The check that users copy, with real programs: one that is signed, one that is not, and one that was changed since.
func TestSignedProgramIsStarted(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := startChecked(t, tcpOnly)
	s.tellCheck(checkOrder{Key: public})
	sign := func() {
		t.Helper()
		program, err := os.ReadFile(s.path)
		if err == nil {
			err = os.WriteFile(s.path+".sig", ed25519.Sign(private, program), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	installMarked(t, s.path, "unsigned")
	s.refuses(StepCheck, s.path+".sig")
	sign()
	installMarked(t, s.path, "tampered")
	s.refuses(StepCheck, "not signed by the key")
	s.runs("v1")
	installMarked(t, s.path, "v2")
	sign()
	s.upgrade()
	s.runs("v2")
}

func TestCheckIsBoundByTheUpgradeTimeout(t *testing.T) {
	s := startChecked(t, config{Listen: tcpOnly.Listen, Timeout: time.Second})
	s.tellCheck(checkOrder{Hang: true})
	if got := s.ask("upgrade"); !strings.Contains(got, ErrTimeout.Error()) || !strings.Contains(got, "has not returned") {
		t.Errorf("Upgrade returned %q", got)
	}
	s.runs("v1")
}
