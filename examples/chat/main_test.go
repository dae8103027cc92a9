//go:build linux

package main

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// The test binary is the program too, so the race detector watches the program.
func TestMain(m *testing.M) {
	servicetest.Main(func(any) error { main(); return nil })
	goleak.VerifyTestMain(m)
}
