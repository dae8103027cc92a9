package process

import (
	"os"
	"testing"
	"time"
)

func TestSameCommand(t *testing.T) {
	c, _ := startWaiting(t) // without arguments; the tests have arguments or another name
	if !SameCommand(os.Getpid()) {
		t.Error("this process has another command than itself")
	}
	other := startChild(t, helperSpec(t, "exit", "0"))
	other.State()
	if SameCommand(other.PID()) {
		t.Error("a process that has ended has the same command")
	}
	spec := helperSpec(t, "wait")
	spec.Args = os.Args
	r, w := pipe(t)
	spec.Files[0] = r.Fd()
	same := startChild(t, spec)
	// startWaiting notices the start when the kernel closes the close-on-exec descriptors, which is
	// before it sets the arguments.
	deadline := time.Now().Add(10 * time.Second)
	for ; !SameCommand(same.PID()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process with the same arguments has another command")
		}
	}
	must(t, w.Close())
	if len(os.Args) > 1 && SameCommand(c.PID()) {
		t.Error("a process with other arguments has the same command")
	}
}

func TestDescriptorsOfAnotherProcess(t *testing.T) {
	ln := listener(t)
	name := SocketName(socketFD(t, ln))
	spec := helperSpec(t, "wait")
	r, w := pipe(t)
	spec.Files[0] = r.Fd()
	spec.Files = append(spec.Files, socketFD(t, listener(t)), socketFD(t, ln))
	c := startChild(t, spec)
	all, err := Descriptors(c.PID())
	must(t, err)
	if all[4] != name || all[3] == name || all[0] == "" {
		t.Errorf("the descriptors are %v, and the socket passed as 4 is %s", all, name)
	}
	if got := SocketName(r.Fd()); got != "" {
		t.Errorf("a pipe is the socket %s", got)
	}
	must(t, w.Close())
	c.State()
	if all, err := Descriptors(c.PID()); err == nil {
		t.Errorf("a process that has ended has %v", all)
	}
}
