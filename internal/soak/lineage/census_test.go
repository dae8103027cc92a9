package lineage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDescriptorKind(t *testing.T) {
	for target, want := range map[string]string{
		"socket:[4711]": "socket", "pipe:[12]": "pipe", "anon_inode:[pidfd]": "pidfd",
		"/dev/null": "/dev/null", "/a:[b]": "/a:[b]",
	} {
		if got := descriptorKind(target); got != want {
			t.Errorf("%s is a %s, not a %s", target, got, want)
		}
	}
}

// TestCensusCountsOpenFiles opens a file that counts, and one that does not.
func TestCensusCountsOpenFiles(t *testing.T) {
	const uncounted = "/proc/self/status"
	if _, err := os.Stat(uncounted); err != nil {
		c := TakeCensus()
		if c.descriptorCount() != notMeasured || megabytes(c.Resident) != notMeasured {
			t.Errorf("without /proc, the census is %v, %d bytes of memory", c, c.Resident)
		}
		return
	}
	counted := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(counted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{counted, counted, uncounted} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	c := TakeCensus()
	if c.Descriptors[counted] != 2 || c.Resident < 1<<20 {
		t.Errorf("with a file open twice: %v, %d bytes of memory", c, c.Resident)
	}
	for kind := range c.Descriptors {
		if strings.HasPrefix(kind, "/proc/") {
			t.Errorf("%s counts", kind)
		}
	}
}

// A census settles once everything that was about to end has ended.
func TestSettledCensus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 20
		c, err := SettledCensus(t.Context(), time.Second, func() (*Census, error) {
			n--
			links := max(n-3, 0) // the last ones end after the number of goroutines has settled
			return &Census{Goroutines: max(n, 9), Descriptors: map[string]int{pidfd: links}}, nil
		})
		if err != nil || c.Goroutines != 9 || c.Descriptors[pidfd] != 0 {
			t.Errorf("%v, %v", c, err)
		}
	})
}

func TestCensusThatNeverSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour := errors.New("an hour is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, hour)
		defer cancel()
		n := 0
		_, err := SettledCensus(ctx, time.Second, func() (*Census, error) {
			n++
			return &Census{Goroutines: n}, nil
		})
		if !errors.Is(err, hour) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCensusThatFails(t *testing.T) {
	broken := errors.New("no census")
	take := func() (*Census, error) { return nil, broken }
	if _, err := SettledCensus(t.Context(), time.Second, take); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
