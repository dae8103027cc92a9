//go:build unix

package transfer

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }
