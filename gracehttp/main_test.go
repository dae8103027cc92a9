//go:build linux

package gracehttp

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// The test binary starts itself as the service under test.
func TestMain(m *testing.M) {
	servicetest.Main(config.serve)
	// Since Go 1.27, net/http waits for half a second after a body that nobody has read: here,
	// after some of the self-tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}
