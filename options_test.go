//go:build unix

package grace

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each option with each value that it must refuse, and what the error says.
func TestEveryInvalidOptionIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	healthy := WithHealthCheck(func(context.Context, Process) error { return nil })
	for _, c := range []struct {
		opts []Option
		says string
	}{
		{[]Option{nil}, "an Option is nil"},
		{[]Option{WithLogger(nil)}, "WithLogger(): the logger is nil"},
		{[]Option{WithObserver(nil)}, "WithObserver(): the observer is nil"},
		{[]Option{WithUpgradeTimeout(0)}, "WithUpgradeTimeout(0s): 0s is not positive"},
		{[]Option{WithUpgradeTimeout(-time.Hour)}, "WithUpgradeTimeout(-1h0m0s): -1h0m0s is not positive"},
		{[]Option{WithDrainTimeout(0)}, "WithDrainTimeout(0s): 0s is not positive"},
		{[]Option{WithDrainTimeout(-time.Second)}, "WithDrainTimeout(-1s): -1s is not positive"},
		{[]Option{WithStopDelay(-time.Second)}, "WithStopDelay(-1s): -1s is negative"},
		{[]Option{WithStopDelay(DefaultDrainTimeout)}, "WithStopDelay(30s) leaves no time for the drain"},
		{[]Option{WithStopDelay(2 * time.Second), WithDrainTimeout(time.Second)}, "timeout, which is 1s"},
		{[]Option{WithMaxDraining(0)}, "WithMaxDraining(0): 0 is not positive"},
		{[]Option{WithMaxDraining(-1)}, "WithMaxDraining(-1): -1 is not positive"},
		{[]Option{WithMaxDraining(1, nil)}, "an option in it is nil"},
		{[]Option{WithProbation(-1)}, "WithProbation(-1ns): -1ns is negative"},
		{[]Option{WithProbation(time.Second, nil)}, "an option in it is nil"},
		{[]Option{WithProbation(0, healthy)}, "WithProbation(0s, WithHealthCheck()): without a duration"},
		{[]Option{WithProbation(1, WithHealthCheck(nil))}, "WithHealthCheck: the function is nil"},
		{[]Option{WithPIDFile("")}, "WithPIDFile(): the path is empty"},
		{[]Option{WithUpgradeSignals(syscall.SIGKILL)}, "WithUpgradeSignals(killed): no process can catch"},
		{[]Option{WithUpgradeSignals(syscall.SIGHUP, syscall.SIGSTOP)}, "no process can catch stopped"},
		{[]Option{WithUpgradeSignals(syscall.Signal(0))}, "a signal is nil or zero"},
		{[]Option{WithShutdownSignals([]os.Signal{nil}...)}, "WithShutdownSignals(<nil>): a signal is nil"},
		{[]Option{WithShutdownSignals(syscall.SIGKILL)}, "WithShutdownSignals(killed): no process"},
		{[]Option{WithUpgradeSignals(syscall.SIGTERM)}, "terminated is both in WithUpgradeSignals and in"},
		{[]Option{WithShutdownSignals(syscall.SIGUSR2)}, "is both in WithUpgradeSignals and in"},
		{[]Option{WithExecutable("")}, "WithExecutable(): the path is empty"},
		{[]Option{WithArgs("a\x00b")}, "has a zero byte"},
		{[]Option{WithDir(missing)}, "WithDir(" + missing + ")"},
		{[]Option{WithDir("")}, "WithDir()"},
		{[]Option{WithDir(file)}, "is not a directory"},
		{[]Option{WithEnv(nil)}, "WithEnv(): the function is nil"},
		{[]Option{WithCheck(nil)}, "WithCheck(): the function is nil"},
	} {
		m, err := New(c.opts...)
		if err == nil {
			_ = m.Shutdown(context.Background())
			t.Errorf("%v is accepted", c.opts)
			continue
		}
		if !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "grace: ") {
			t.Errorf("%v: the error %q does not say %q", c.opts, err, c.says)
		}
	}
}

// The smallest values that mean something are accepted.
func TestBoundsOfOptions(t *testing.T) {
	m := newTestManager(t, WithUpgradeTimeout(1), WithDrainTimeout(time.Second), WithStopDelay(time.Second-1),
		WithMaxDraining(1, WithEndOldest()), WithProbation(0), WithPIDFile("x"), WithArgs(), WithDir("."))
	if !m.opts.endOldest || m.opts.maxDraining != 1 || !filepath.IsAbs(m.opts.pidFile) || !filepath.IsAbs(m.opts.dir) {
		t.Errorf("the options are %+v", m.opts)
	}
	// A later call is the one that counts, with what is in it.
	m = newTestManager(t, WithMaxDraining(1, WithEndOldest()), WithMaxDraining(2),
		WithProbation(time.Second, WithHealthCheck(func(context.Context, Process) error { return nil })),
		WithProbation(time.Minute))
	if m.opts.endOldest || m.opts.maxDraining != 2 || m.opts.healthCheck != nil || m.opts.probation != time.Minute {
		t.Errorf("the options are %+v", m.opts)
	}
}

func TestInvalidListenOptionIsNamed(t *testing.T) {
	m := newTestManager(t)
	for says, opt := range map[string]ListenOption{
		`WithName("a:b")`:         WithName("a:b"),
		`WithName("ä")`:           WithName("\u00e4"),
		"a ListenOption is nil":   nil,
		`WithName("` + "a\\nb\")": WithName("a\nb"),
	} {
		if _, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0", opt); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error %v does not say %s", err, says)
		}
	}
}

// The same option is for all sockets, or for one.
func TestListenConfigForAllAndForOne(t *testing.T) {
	config := func(to *[]string) net.ListenConfig {
		return net.ListenConfig{Control: func(network, address string, _ syscall.RawConn) error {
			*to = append(*to, network)
			return nil
		}}
	}
	var all, one []string
	m := newTestManager(t, WithListenConfig(config(&all)))
	for _, opts := range [][]ListenOption{nil, {WithListenConfig(config(&one))}} {
		ln, err := m.Listen(t.Context(), "tcp4", "127.0.0.1:0", opts...)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	if len(all) != 1 || len(one) != 1 {
		t.Errorf("bound with the config of all: %v, of one: %v", all, one)
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
		"WithUpgradeTimeout(1m0s)":            WithUpgradeTimeout(time.Minute),
		"WithPIDFile(/run/a.pid)":             WithPIDFile("/run/a.pid"),
		"WithUpgradeSignals(hangup)":          WithUpgradeSignals(syscall.SIGHUP),
		"WithShutdownSignals()":               WithShutdownSignals(),
		"WithArgs(serve, --port=80)":          WithArgs("serve", "--port=80"),
		"WithMaxDraining(1, WithEndOldest())": WithMaxDraining(1, WithEndOldest()),
		"WithProbation(1s, WithHealthCheck())": WithProbation(time.Second,
			WithHealthCheck(func(context.Context, Process) error { return nil })),
		"WithoutConnectionWait()":           WithoutConnectionWait(),
		"WithoutContainerCheck()":           WithoutContainerCheck(),
		"WithListenConfig()":                WithListenConfig(net.ListenConfig{}),
		"WithStopDelay(5s)":                 WithStopDelay(5 * time.Second),
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
