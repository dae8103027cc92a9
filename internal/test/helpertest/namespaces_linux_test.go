package helpertest

import (
	"errors"
	"maps"
	"syscall"
	"testing"
)

// Where namespaces cannot be made, a test is skipped and leaves nothing open. The kernel makes none
// for these flags, see clone(2).
func TestNamespacesThatCannotBeMade(t *testing.T) {
	before := OpenDescriptors()
	err := tryNamespaces(syscall.CLONE_NEWUSER | syscall.CLONE_FS)
	if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EPERM) {
		t.Errorf("got %v", err)
	}
	if after := OpenDescriptors(); !maps.Equal(before, after) {
		t.Errorf("open before: %v, and after: %v", before, after)
	}
}
