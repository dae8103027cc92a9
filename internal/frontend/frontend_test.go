package frontend

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Await returns when the last front end of the same Manager has drained, or its context ends.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		manager, other := new(int), new(int)
		for _, seconds := range []time.Duration{1, 3} {
			time.AfterFunc(seconds*time.Second, Started(manager))
		}
		time.AfterFunc(time.Hour, Started(other))
		began := time.Now()
		await := func(ctx context.Context, manager any, after time.Duration) {
			t.Helper()
			if Await(ctx, manager); time.Since(began) != after {
				t.Errorf("it returned after %v and not %v", time.Since(began), after)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		await(t.Context(), new(int), 0)
		await(short, manager, 2*time.Second)
		await(t.Context(), manager, 3*time.Second)
		await(t.Context(), manager, 3*time.Second)
		await(t.Context(), other, time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if len(groups) > 0 {
			t.Errorf("%d Managers are not forgotten", len(groups))
		}
	})
}
