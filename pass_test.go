//go:build linux

package grace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A file goes on where the old process has left it: the offset is shared.
func TestPassedFileKeepsItsOffset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := start(t, "pass", tcpOnly)
	s.expect("open log "+path, "ok")
	s.expect("write log one", "ok")
	s.upgrade()
	s.expect("write log two", "ok")
	s.misbehave("exit-after-listen")
	s.ask("upgrade")
	s.misbehave("")
	s.expect("write log three", "ok") // a failed upgrade takes nothing away
	s.upgrade()
	s.expect("write log four", "ok")
	if got, err := os.ReadFile(path); err != nil || string(got) != "onetwothreefour" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestPassedPipeAndEventfd(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	before := s.census()
	s.expect("pipe in out", "ok")
	s.expect("write in fromtheold", "ok")
	s.expect("eventfd events 5", "ok")
	s.upgrade()
	s.expect("read out", "fromtheold")
	s.expect("write in fromthenew", "ok")
	s.expect("read out", "fromthenew")
	count := make([]byte, 8)
	binary.NativeEndian.PutUint64(count, 5)
	s.expect("read events", string(count))
	ends := 0
	for _, d := range s.census().Descriptors {
		if strings.HasPrefix(d, "pipe:") && !slices.Contains(before.Descriptors, d) {
			ends++
			if strings.HasSuffix(d, " blocking") {
				t.Errorf("O_NONBLOCK was cleared: %s", d)
			}
		}
	}
	if ends != 2 {
		t.Errorf("there are %d ends of a pipe", ends)
	}
}

// The client at the other end of a passed connection notices nothing: not of upgrades, nor of those that fail.
func TestPassedConnectionsKeepBeingServed(t *testing.T) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			s := start(t, "pass", tcpOnly)
			s.expect("connect conn-a "+network+" "+ln.Addr().String(), "ok")
			s.expect("connect conn-b "+network+" "+ln.Addr().String(), "ok")
			busy, idle := accept(t, ln), accept(t, ln)
			talk := startTalk(busy)
			if _, err := fmt.Fprint(idle, "half "); err != nil {
				t.Fatal(err)
			}
			s.awaitPending("conn-b", "half ")
			for range 3 {
				s.misbehave("hook-error")
				if got := s.ask("upgrade"); !strings.Contains(got, "the database is not there") {
					t.Fatalf("Upgrade returned %q", got)
				}
				s.misbehave("")
				s.upgrade()
			}
			if answer, err := idle.ask("a line"); err != nil || !strings.HasPrefix(answer, "half a line 4 ") {
				t.Errorf("what was half a line before three upgrades is answered with %q, %v", answer, err)
			}
			talk.awaitAnswerOf(t, 4)
			talk.end(t)
		})
	}
}

func accept(t *testing.T, ln net.Listener) *client {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newClient(c)
}

func (s *service) awaitPending(name, want string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); s.ask("pending "+name) != toJSON(want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the service has not read %q: %s", want, s.ask("pending "+name))
		}
	}
}

// talk is a client that speaks all the time over one connection.
type talk struct {
	stop chan struct{}
	done chan struct{}
	mu   sync.Mutex
	last string
	err  error
}

func startTalk(c *client) *talk {
	l := &talk{stop: make(chan struct{}), done: make(chan struct{})}
	go func() { // ends when stop is closed, or at the first error
		defer close(l.done)
		for i := 0; l.err == nil; i++ {
			select {
			case <-l.stop:
				return
			default:
			}
			answer, err := c.ask(fmt.Sprintf("t%d", i))
			if err == nil && !strings.HasPrefix(answer, fmt.Sprintf("t%d ", i)) {
				err = fmt.Errorf("asked t%d and got %q", i, answer)
			}
			l.mu.Lock()
			l.last, l.err = answer, err
			l.mu.Unlock()
		}
	}()
	return l
}

// awaitAnswerOf waits until a generation has answered.
func (l *talk) awaitAnswerOf(t *testing.T, generation int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		words, err := strings.Fields(l.last), l.err
		l.mu.Unlock()
		if len(words) > 1 && words[1] == fmt.Sprint(generation) || err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("generation %d has not answered: %v", generation, words)
		}
	}
}

func (l *talk) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	<-l.done
	if l.err != nil {
		t.Errorf("the connection was not served on: %v", l.err)
	}
}

// What was closed is left out, and its name is free.
func TestClosedFileIsNotPassed(t *testing.T) {
	dir := t.TempDir()
	s := start(t, "pass", tcpOnly)
	s.expect("open once "+filepath.Join(dir, "a"), "ok")
	s.expect("open gone "+filepath.Join(dir, "b"), "ok")
	if got := s.ask("open gone " + filepath.Join(dir, "c")); !strings.Contains(got, `"gone" is the name of something open`) {
		t.Errorf("a second file of the name: %s", got)
	}
	s.expect("shut gone", "ok")
	s.upgrade()
	if got := s.inherited().Files; !slices.Equal(got, []string{"once"}) {
		t.Errorf("the successor was passed %v", got)
	}
	s.expect("open gone "+filepath.Join(dir, "c"), "ok")
	s.upgrade()
	if got := s.inherited().Files; !slices.Equal(got, []string{"gone"}) { // and "once" was passed once
		t.Errorf("the third generation was passed %v", got)
	}
}

// A process that was passed a hundred files has them all, and no descriptor more, whatever goes wrong.
func TestHundredPassedFiles(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	s.expect("many 100 "+t.TempDir(), "ok")
	s.expect("state a 1000", "ok")
	s.upgrade()
	s.awaitParentExit(2)
	held := s.dial()
	before := heldCensus(t, held)
	for _, mode := range []string{"exit", "exit-after-listen", "hook-error", "undecodable"} {
		s.misbehave(mode)
		if got := s.ask("upgrade"); !strings.Contains(got, "upgrade failed") {
			t.Fatalf("Upgrade returned %q", got)
		}
		s.misbehave("")
		sameCensus(t, before, func() census { return heldCensus(t, held) })
	}
	held.Close() // the old process would wait for its end
	for generation := 3; generation < 6; generation++ {
		s.upgrade()
		s.awaitParentExit(generation)
		got := s.inherited()
		if len(got.Files) != 100 || len(got.Wrong) != 0 {
			t.Errorf("generation %d: %d files, %v", generation, len(got.Files), got.Wrong)
		}
		s.awaitCensus(before)
	}
}

// awaitCensus waits until another generation has no more than one had before, once the connections of the test are gone.
func (s *service) awaitCensus(before census) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		after := s.census()
		if len(after.Descriptors) <= len(before.Descriptors) && after.Goroutines <= before.Goroutines {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("before %+v\nafter  %+v", before, after)
		}
	}
}

// What nobody asks for is closed when the successor serves, which tells its observers.
func TestAbandonedFilesAndStatesAreDropped(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	s.expect("open ignored-file "+filepath.Join(t.TempDir(), "a"), "ok")
	s.expect("open once "+filepath.Join(t.TempDir(), "b"), "ok")
	s.expect("state ignored-state 10", "ok")
	s.expect("state b 10", "ok")
	s.upgrade()
	told := s.Await("the event", finished("InheritedAbandoned", 0))
	if told.Generation != 2 || !strings.Contains(told.Detail, "files=[ignored-file]") || !strings.Contains(told.Detail, "states=[ignored-state]") {
		t.Errorf("the event is %+v", told)
	}
	for command, why := range map[string]string{
		"inherit ignored-file":        `not inherited: file "ignored-file": this process serves, and what nobody had asked for by then was closed`,
		"inherit once":                `file "once": it was returned before`,
		"inherit-state ignored-state": `state "ignored-state": this process serves`,
	} {
		if got := s.ask(command); !strings.Contains(got, why) {
			t.Errorf("%s: %s", command, got)
		}
	}
	for _, d := range s.census().Descriptors {
		if strings.Contains(d, "/a ") || strings.Contains(d, "memfd") {
			t.Errorf("still open: %s", d)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	s.expect("open log "+filepath.Join(t.TempDir(), "a"), "ok")
	s.expect("state sessions 10", "ok")
	s.upgrade()
	for what, want := range map[string]string{
		s.inherited().Unknown[0]: `grace: not inherited: file "no such": there are "log"`,
		s.inherited().Unknown[1]: `grace: not inherited: state "no such": there are "sessions"`,
	} {
		if what != want {
			t.Errorf("got %q, want %q", what, want)
		}
	}
}

func TestStatesOfAllSizes(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	sizes := []int{0, 1, MaxState}
	for _, size := range sizes {
		s.expect(fmt.Sprintf("state s%d %d", size, size), "ok")
	}
	for generation := 2; generation < 4; generation++ {
		s.upgrade()
		got := s.inherited()
		for _, size := range sizes {
			if want := sumOf(pattern(size)); got.States[fmt.Sprintf("s%d", size)] != want {
				t.Errorf("generation %d: the state of %d bytes became %q, want %q", generation, size, got.States[fmt.Sprintf("s%d", size)], want)
			}
		}
	}
	for _, d := range s.census().Descriptors {
		if strings.Contains(d, "memfd") {
			t.Errorf("still open: %s", d)
		}
	}
}

// Whatever is wrong with a state in the old process, no successor is started, and the old process keeps serving.
func TestStateThatCannotBePassed(t *testing.T) {
	c := tcpOnly
	c.Timeout = 3 * time.Second // enough for the upgrade at the end
	s := start(t, "pass", c)
	_, pid := s.serving()
	held := s.dial()
	defer held.Close()
	s.expect("state fine 1000", "ok")
	before := heldCensus(t, held)
	for kind, want := range map[string][]string{
		fmt.Sprint(MaxState + 1): {`state "bad" has 67108865 bytes, more than the 67108864 allowed: pass a file instead`},
		"error":                  {`PassState hook "bad": the sessions are locked`},
		"panic":                  {`PassState hook "bad": panic: as told`, "passer_test.go"},
		"hang":                   {`PassState hook "bad": `, ErrTimeout.Error()},
	} {
		s.expect("state bad "+kind, "ok")
		got := s.ask("upgrade")
		for _, part := range append(want, "upgrade failed at state: ") {
			if !strings.Contains(got, strings.Trim(toJSON(part), `"`)) {
				t.Errorf("%s: Upgrade returned %s, without %q", kind, got, part)
			}
		}
		s.expect("state bad 1", "ok")
		sameCensus(t, before, func() census { return heldCensus(t, held) })
	}
	if n := s.count(finished("SuccessorStarted", 0)); n != 0 {
		t.Errorf("%d successors were started", n)
	}
	if _, now := s.serving(); now != pid {
		t.Errorf("process %d serves, and not %d", now, pid)
	}
	s.upgrade()
}

// The old process closes the file of states itself, and leaves it to no finalizer.
func TestFileOfStatesIsClosed(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		encoded := errors.New("the sessions are locked")
		if err := r.PassState("sessions", func(context.Context) ([]byte, error) { return nil, encoded }); err != nil {
			t.Fatal(err)
		}
		check := func(what string, err error, says string) {
			t.Helper()
			wantError(t, what, err, says)
			for _, d := range takeCensus().Descriptors {
				if strings.Contains(d, "memfd:grace-state") {
					t.Errorf("%s: the file is open", what)
				}
			}
		}
		check("an encoder that fails", r.Upgrade(t.Context()), "locked")
		encoded = nil
		r.script = func(f *fakeSuccessor) { f.hear(); f.hangUp() }
		check("a successor that fails", r.Upgrade(t.Context()), "before it sent Ready")
		r.script = upright
		check("success", errors.Join(r.Upgrade(t.Context()), errors.New("none")), "none")
		r.finish(t)
	})
}

// What comes damaged to the successor is an error of New there, which is the reason in the error of Upgrade.
func TestDamagedStateFailsTheUpgrade(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	_, pid := s.serving()
	l := startLoad(s)
	s.ask("census")
	held := s.dial()
	defer held.Close()
	s.expect("open log "+filepath.Join(t.TempDir(), "a"), "ok")
	s.expect("state sessions 100000", "ok")
	before := heldCensus(t, held)
	for kind, want := range map[string]string{
		"checksum":  `state "sessions" is damaged: its 100000 bytes have the checksum`,
		"truncated": `section 1 of 1: state "sessions" is cut off: it has 100000 bytes`,
		"oversized": `section 1 of 1: state "sessions" has 18446744073709551615 bytes, more than the 67108864 allowed`,
		"magic":     "this is not a file of states",
		"name":      `the name "\x1bessions" has the character`,
		"unsealed":  "the file is in memory but not sealed",
		"pipe":      "the descriptor is not a file",
	} {
		s.expect("damage "+kind, "ok")
		got := s.ask("upgrade")
		for _, part := range []string{want, "upgrade failed at ready: the successor cannot serve: "} {
			if !strings.Contains(got, strings.Trim(toJSON(part), `"`)) {
				t.Errorf("%s: Upgrade returned %s, without %q", kind, got, part)
			}
		}
	}
	l.end(t)
	sameCensus(t, before, func() census { return heldCensus(t, held) })
	if _, now := s.serving(); now != pid {
		t.Errorf("process %d serves, and not %d", now, pid)
	}
	s.expect("damage none", "ok")
	s.upgrade()
	if got := s.inherited().States["sessions"]; got != sumOf(pattern(100000)) {
		t.Errorf("the state that came at last is %q", got)
	}
}

// A state of which the new version makes nothing is a failed upgrade, and no outage.
func TestStateThatTheNewVersionCannotRead(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	_, pid := s.serving()
	s.expect("state sessions 100", "ok")
	l := startLoad(s)
	for mode, want := range map[string]string{
		"undecodable":         "the successor cannot serve: sessions: this is version 1 of the format, and I read version 2",
		"undecodable-at-hook": "the successor cannot serve: OnReady hook \\\"decode\\\": sessions: this is version 1",
		"undecodable-return":  "the successor has ended, or has closed its link, before it sent Ready",
	} {
		s.misbehave(mode)
		if got := s.ask("upgrade"); !strings.Contains(got, want) {
			t.Errorf("%s: Upgrade returned %s", mode, got)
		}
		if _, now := s.serving(); now != pid {
			t.Errorf("%s: process %d serves, and not %d", mode, now, pid)
		}
	}
	s.misbehave("")
	s.upgrade()
	l.end(t)
	if got := s.inherited().States["sessions"]; got != sumOf(pattern(100)) {
		t.Errorf("the state that came at last is %q", got)
	}
}

// A state outlives an old process that dies between its start of the successor and the commit.
func TestStateOutlivesACrashOfTheOldProcess(t *testing.T) {
	s := start(t, "pass", tcpOnly)
	s.expect("state sessions 100", "ok")
	s.misbehave("kill-parent")
	c := s.dial()
	defer c.Close()
	if _, err := fmt.Fprintln(c, "upgrade"); err != nil {
		t.Fatal(err)
	}
	s.Await("the successor to be ready", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == 2 && p.Err == "" })
	if got := s.inherited().States["sessions"]; got != sumOf(pattern(100)) {
		t.Errorf("the state is %q", got)
	}
}

// expect sends a command, and fails the test if the answer is another.
func (s *service) expect(command, want string) {
	s.t.Helper()
	if got := s.ask(command); got != want && got != toJSON(want) {
		s.t.Fatalf("%s: %s, and not %q", command, got, want)
	}
}

// inherited asks the service what it was passed.
func (s *service) inherited() (got gift) {
	s.t.Helper()
	decode(s.t, s.ask("gift"), &got)
	return got
}
