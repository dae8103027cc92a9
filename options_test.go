package grace

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestEveryInvalidOptionIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for want, opt := range map[string]Option{
		"WithLogger()":                    WithLogger(nil),
		"WithObserver()":                  WithObserver(nil),
		"WithUpgradeTimeout(0s)":          WithUpgradeTimeout(0),
		"WithDrainTimeout(-1s)":           WithDrainTimeout(-time.Second),
		"WithPIDFile()":                   WithPIDFile(""),
		"WithUpgradeSignals(killed)":      WithUpgradeSignals(syscall.SIGKILL),
		"WithShutdownSignals(<nil>)":      WithShutdownSignals(nil...),
		"WithExecutable()":                WithExecutable(""),
		"WithArgs(a\x00b)":                WithArgs("a\x00b"),
		"WithDir(" + missing + ")":        WithDir(missing),
		"WithEnv()":                       WithEnv(nil),
		"WithCheck()":                     WithCheck(nil),
		"both in WithUpgradeSignals":      WithUpgradeSignals(syscall.SIGTERM),
		"an Option is nil":                nil,
		"WithUpgradeTimeout(-1h0m0s): -1": WithUpgradeTimeout(-time.Hour),
	} {
		if want == "WithShutdownSignals(<nil>)" {
			opt = WithShutdownSignals([]os.Signal{nil}...)
		}
		m, err := New(opt)
		if err == nil {
			_ = m.Shutdown(context.Background())
			t.Errorf("%s is accepted", want)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "grace: ") {
			t.Errorf("the error %q does not name %q", err, want)
		}
	}
}

func TestAllInvalidOptionsAreNamedAtOnce(t *testing.T) {
	_, err := New(WithDrainTimeout(0), WithDir("/"), WithPIDFile(""))
	if err == nil || !strings.Contains(err.Error(), "WithDrainTimeout") || !strings.Contains(err.Error(), "WithPIDFile") || strings.Contains(err.Error(), "WithDir") {
		t.Errorf("the error is %v", err)
	}
}

func TestOptionsPrintAsTheirCall(t *testing.T) {
	for want, opt := range map[string]Option{
		"WithUpgradeTimeout(1m0s)":          WithUpgradeTimeout(time.Minute),
		"WithPIDFile(/run/a.pid)":           WithPIDFile("/run/a.pid"),
		"WithUpgradeSignals(hangup)":        WithUpgradeSignals(syscall.SIGHUP),
		"WithShutdownSignals()":             WithShutdownSignals(),
		"WithArgs(serve, --port=80)":        WithArgs("serve", "--port=80"),
		"WithLogger()":                      WithLogger(slog.Default()),
		"WithDrainTimeout(1.5s)":            WithDrainTimeout(1500 * time.Millisecond),
		"WithExecutable(/usr/bin/x)":        WithExecutable("/usr/bin/x"),
		"WithShutdownSignals(quit, hangup)": WithShutdownSignals(syscall.SIGQUIT, syscall.SIGHUP),
	} {
		if got := opt.String(); got != want {
			t.Errorf("%q prints as %q", want, got)
		}
	}
}
