//go:build linux

package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// With an address in place of the flags of a test, the test binary is the program: so the race detector watches that too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}
