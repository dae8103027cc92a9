package grace

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-grace/grace/graceevent"
)

// What has started is finished, in both outcomes, and both processes would speak of one handoff.
func TestEventsOfAnUpgradeComeInPairs(t *testing.T) {
	for name, script := range map[string]func(*fakeSuccessor){
		"success": upright,
		"failure": func(f *fakeSuccessor) { f.hear(); f.hangUp() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				open := map[string]int{}
				handoffs := map[string]bool{}
				r := newRig(t, WithObserver(graceevent.ObserverFunc(func(_ context.Context, rec graceevent.Record) {
					mu.Lock()
					defer mu.Unlock()
					kind := reflect.TypeOf(rec.Event).Name()
					if base, ok := strings.CutSuffix(kind, "Started"); ok && base != "Successor" {
						open[base]++
					} else if base, ok := strings.CutSuffix(kind, "Finished"); ok {
						open[base]--
					}
					if strings.HasPrefix(kind, "Upgrade") {
						handoffs[rec.Handoff] = true
					}
				})))
				r.script = script
				_ = r.Upgrade(t.Context())
				r.finish(t)
				for base, n := range open {
					if n != 0 {
						t.Errorf("%sStarted and %sFinished differ by %d", base, base, n)
					}
				}
				if len(handoffs) != 1 || handoffs[""] {
					t.Errorf("one upgrade has the ids %v", handoffs)
				}
			})
		})
	}
}
