//go:build unix

package gate

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

const (
	patience = 10 * time.Second      // how long a test waits for something that will happen
	soon     = 20 * time.Millisecond // a deadline by which a call that may go on would have done so
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awaitThat waits until something holds.
func awaitThat(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// within waits for what a call returns.
func within(t testing.TB, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		t.Fatal("the call has not returned")
		return nil
	}
}
