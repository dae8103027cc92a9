//go:build linux

package gracegrpc

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// The test binary starts itself as the service under test.
func TestMain(m *testing.M) {
	servicetest.Main(config.serve)
	goleak.VerifyTestMain(m)
}
