//go:build linux

package gracehttp

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary starts itself as the service under test if this variable is set, to its config.
const envConfig = "GRACEHTTP_TEST_CONFIG"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(envConfig); ok {
		runService(text)
	}
	// Since Go 1.27, net/http waits for half a second after a body that nobody has read: here, after some of the trials.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// runService does not return.
func runService(text string) {
	var c config
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
