package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// openFile returns a file that the test may close, or leave open.
func openFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func wantError(t *testing.T, what string, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: got %v, want %q", what, err, says)
	}
}

func TestPassRefuses(t *testing.T) {
	m := newTestManager(t)
	f, closed := openFile(t), openFile(t)
	closed.Close()
	for _, tt := range []struct {
		name string
		conn syscall.Conn
		says string
	}{
		{"", f, "grace: pass a file: the name is empty"},
		{strings.Repeat("x", 256), f, "has 256 bytes, more than the 255 allowed"},
		{"a\tb", f, `the name "a\tb" has the character '\t', which is not printable`},
		{"a", nil, `what is to be passed as "a" is nil`},
		{"a", (*os.File)(nil), `what is to be passed as "a" is not open: invalid argument`},
		{"a", closed, `what is to be passed as "a" is not open`},
	} {
		wantError(t, tt.name, m.PassFile(tt.name, tt.conn), tt.says)
	}
	if err := m.PassFile("a b: ü", f); err != nil {
		t.Error(err)
	}
	if err := m.PassFile("the same by another name", f); err != nil {
		t.Error(err)
	}
	wantError(t, "a name in use", m.PassFile("a b: ü", f), `"a b: ü" is the name of something open`)
	f.Close()
	if err := m.PassFile("a b: ü", openFile(t)); err != nil {
		t.Errorf("the name of what was closed: %v", err)
	}
}

func TestPassStateRefuses(t *testing.T) {
	m := newTestManager(t)
	encode := func(context.Context) ([]byte, error) { return nil, nil }
	wantError(t, "no name", m.PassState("", encode), "grace: pass a state: the name is empty")
	wantError(t, "no function", m.PassState("a", nil), `state "a" has no function`)
	for i := range MaxStates {
		if err := m.PassState(fmt.Sprint(i), encode); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, "a name in use", m.PassState("7", encode), `there is a state "7" already`)
	wantError(t, "too many", m.PassState("a", encode), `state "a" is one more than the 1024 that can be passed`)
	if err := m.PassFile("7", openFile(t)); err != nil {
		t.Errorf("a file with the name of a state: %v", err)
	}
}

// What is closed makes room.
func TestPassCounts(t *testing.T) {
	m := newTestManager(t)
	f := openFile(t)
	for i := range MaxFiles - 1 {
		if err := m.PassFile(fmt.Sprint(i), f); err != nil {
			t.Fatal(err)
		}
	}
	last := openFile(t)
	if err := m.PassFile("last", last); err != nil {
		t.Fatal(err)
	}
	wantError(t, "too many", m.PassFile("one more", f), `"one more" is one more than the 16384 that can be passed`)
	last.Close()
	if err := m.PassFile("one more", f); err != nil {
		t.Error(err)
	}
}

func TestInheritedInAFirstGeneration(t *testing.T) {
	m := newTestManager(t)
	f, err := m.InheritedFile("log")
	if f != nil || !errors.Is(err, ErrNotInherited) || err.Error() != `grace: not inherited: file "log": there are none` {
		t.Errorf("got %v, %v", f, err)
	}
	data, err := m.InheritedState("sessions")
	if data != nil || !errors.Is(err, ErrNotInherited) || err.Error() != `grace: not inherited: state "sessions": there are none` {
		t.Errorf("got %q, %v", data, err)
	}
}

// States are encoded when the hooks have run, and nothing is started if one cannot be; what the hooks did is undone.
func TestStatesAreEncodedBetweenHooksAndStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var second error
		for _, name := range []string{"z", "y"} {
			if err := r.PassState(name, func(ctx context.Context) ([]byte, error) {
				r.called("encode:" + name)
				if _, bounded := ctx.Deadline(); !bounded {
					t.Error("the context has no deadline")
				}
				if name == "y" {
					return nil, second
				}
				return nil, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		second = errors.New("cause")
		err := r.Upgrade(t.Context())
		var failed *UpgradeError
		if !errors.As(err, &failed) || failed.Step != StepState || failed.PID != 0 || !errors.Is(err, second) {
			t.Errorf("Upgrade returned %v", err)
		}
		if got := r.takeCalls(); got != "upgrade:a upgrade:b encode:z encode:y failed:b failed:a" {
			t.Errorf("called: %s", got)
		}
		second = nil
		if err := r.Upgrade(t.Context()); err != nil {
			t.Error(err)
		}
		r.finish(t)
		if got := r.takeCalls(); !strings.HasPrefix(got, "upgrade:a upgrade:b encode:z encode:y drain:") {
			t.Errorf("called: %s", got)
		}
	})
}

// A function that does not heed its context is left behind.
func TestEncoderThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		release := make(chan struct{})
		if err := r.PassState("sessions", func(context.Context) ([]byte, error) { <-release; return []byte("too late"), nil }); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := r.Upgrade(t.Context())
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("Upgrade returned %v", err)
		}
		wantError(t, "Upgrade", err, `upgrade failed at state: PassState hook "sessions": has not returned 1s after its deadline`)
		if took := time.Since(began); took != r.opts.upgradeTimeout+time.Second {
			t.Errorf("after %v", took)
		}
		if len(r.successors) > 0 || r.Status().State != StateServing {
			t.Errorf("%d successors, state %s", len(r.successors), r.Status().State)
		}
		close(release)
		r.finish(t)
	})
}

// What an encoder returns after the deadline comes too late, and those after it are not called.
func TestEncoderThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, name := range []string{"late", "next"} {
			if err := r.PassState(name, func(ctx context.Context) ([]byte, error) {
				r.called("encode:" + name)
				<-ctx.Done()
				return nil, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		err := r.Upgrade(t.Context())
		var failed *UpgradeError
		if !errors.As(err, &failed) || failed.Step != StepState || !errors.Is(err, ErrTimeout) {
			t.Errorf("Upgrade returned %v", err)
		}
		if got := r.takeCalls(); strings.Contains(got, "encode:next") {
			t.Errorf("called: %s", got)
		}
		r.finish(t)
	})
}

func TestPassAfterTheEnd(t *testing.T) {
	for want, end := range map[error]func(*rig) error{
		ErrUpgraded: func(r *rig) error { return r.Upgrade(context.Background()) },
		ErrShutdown: func(r *rig) error { return r.Shutdown(context.Background()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			encode := func(context.Context) ([]byte, error) { return nil, nil }
			if err := errors.Join(r.PassFile("a", openFile(t)), r.PassState("a", encode)); err != nil {
				t.Fatal(err)
			}
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			if err := r.PassFile("b", openFile(t)); !errors.Is(err, want) {
				t.Errorf("Pass: %v, want %v", err, want)
			}
			if err := r.PassState("b", encode); !errors.Is(err, want) {
				t.Errorf("PassState: %v, want %v", err, want)
			}
			r.finish(t)
			if len(r.outgoing.Extras())+len(r.outgoing.States()) > 0 {
				t.Error("references are kept")
			}
		})
	}
}

// newInheritingSuccessor returns a successor that was passed a file and a state, and both descriptors.
func newInheritingSuccessor(t *testing.T) (m *Manager, p *fakeParent, file, states *os.File) {
	t.Helper()
	w, err := state.Create()
	if err == nil {
		err = w.Add("state", []byte("data"))
	}
	if err == nil {
		states, err = w.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	file = openFile(t)
	got, err := sortExtras([]handoff.ExtraFile{{Use: handoff.UseFile, Name: "file"}, {Use: handoff.UseState}}, []*os.File{file, states})
	if err != nil {
		t.Fatal(err)
	}
	p = newFakeParent()
	hello := &handoff.Hello{PID: 12, Generation: 2, Timeout: time.Minute}
	from := inheritance{generation: 2, sockets: fds.New(), parent: newParent(p.fakeLink, hello, p), received: got.inherited}
	return newFakeManager(t, from, nil), p, file, states
}

// A successor that will not serve keeps nothing open, however it comes to its end.
func TestSuccessorThatFailsClosesWhatItWasPassed(t *testing.T) {
	cause := errors.New("cause")
	for how, fail := range map[string]func(*Manager, *fakeParent) error{
		"Ready fails": func(m *Manager, _ *fakeParent) error {
			m.Append(Hook{OnReady: func(context.Context) error { return cause }})
			return m.Ready(context.Background())
		},
		"the old process aborts": func(m *Manager, p *fakeParent) error {
			p.in <- &handoff.Abort{Reason: "cause"}
			return m.Ready(context.Background())
		},
		"Fail":     func(m *Manager, _ *fakeParent) error { return errors.Join(cause, m.Fail(cause)) },
		"Shutdown": func(m *Manager, _ *fakeParent) error { return errors.Join(cause, m.Shutdown(context.Background())) },
	} {
		synctest.Test(t, func(t *testing.T) {
			m, p, file, states := newInheritingSuccessor(t)
			wantError(t, how, fail(m, p), "cause")
			for _, f := range []*os.File{file, states} {
				if f.Close() == nil {
					t.Errorf("%s: %s was left open", how, f.Name())
				}
			}
			if _, err := m.InheritedFile("file"); !errors.Is(err, ErrNotInherited) {
				t.Errorf("%s: Inherited returned %v", how, err)
			}
			if _, err := m.InheritedState("state"); !errors.Is(err, ErrNotInherited) {
				t.Errorf("%s: InheritedState returned %v", how, err)
			}
			p.die()
			if err := m.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// What was given to the application is the application's: nothing that happens later closes it.
func TestInheritedFileBelongsToTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, file, states := newInheritingSuccessor(t)
		got, err := m.InheritedFile("file")
		if err != nil || got != file {
			t.Fatalf("got %v, %v", got, err)
		}
		if data, err := m.InheritedState("state"); err != nil || string(data) != "data" {
			t.Errorf("got %q, %v", data, err)
		}
		_, err = m.InheritedFile("file")
		wantError(t, "the second call", err, `grace: not inherited: file "file": it was returned before`)
		p.die()
		if err := m.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := got.Close(); err != nil {
			t.Errorf("the file was closed: %v", err)
		}
		if states.Close() == nil {
			t.Error("the states are still open")
		}
	})
}

// A Hello that makes no sense is an error, and costs no descriptor.
func TestPassedThatMakeNoSense(t *testing.T) {
	file := handoff.ExtraFile{Use: handoff.UseFile, Name: "a"}
	for what, tt := range map[string]struct {
		described []handoff.ExtraFile
		says      string
	}{
		"two files of a name":  {[]handoff.ExtraFile{file, file}, `a file "a": there are two`},
		"a file without name":  {[]handoff.ExtraFile{file, {Use: handoff.UseFile}}, "the name is empty"},
		"a file and no states": {[]handoff.ExtraFile{file, {Use: handoff.UseState}}, "the header is cut off"},
		"an unknown use":       {[]handoff.ExtraFile{file, {Use: 99}}, "unknown use 99"},
		"one too few":          {[]handoff.ExtraFile{file}, "passed 2 descriptors after the link and describes 1"},
	} {
		files := []*os.File{openFile(t), openFile(t)}
		_, err := sortExtras(tt.described, files)
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v does not match ErrProtocol", what, err)
		}
		wantError(t, what, err, tt.says)
		for i, f := range files {
			if f.Close() == nil {
				t.Errorf("%s: file %d was left open", what, i)
			}
		}
	}
}
