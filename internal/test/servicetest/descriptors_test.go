//go:build linux

package servicetest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What is opened here counts, but for a process descriptor and a file of the system.
func TestDescriptors(t *testing.T) {
	before := Descriptors()
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	status, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	got := Descriptors()
	for fd := range before {
		delete(got, fd)
	}
	if what, ok := got[int(file.Fd())]; len(got) != 1 || !ok {
		t.Errorf("%s: %v were opened since %v", what, got, before)
	}
}
