package gracegrpc

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/frontend"
)

// When the service stops, the server accepts and answers until the HTTP servers have drained, whose
// handlers may call it, but for no longer than half of the drain.
func TestServerOutlivesItsFrontEnds(t *testing.T) {
	const half = grace.DefaultDrainTimeout / 2
	for takes, after := range map[time.Duration]time.Duration{
		7 * time.Second: 7 * time.Second,
		time.Hour:       half,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			time.AfterFunc(takes, frontend.Started(r.Manager))
			draining := Draining(r.Manager)
			result, began := r.drain(), time.Now()
			time.Sleep(after - time.Millisecond)
			c := newClient(t, r.Listener)
			defer c.Close()
			if err := <-c.call(0); err != nil {
				t.Errorf("a handler got %v", err)
			}
			<-draining
			if took := time.Since(began); took != after+settleTime+goAwayTime {
				t.Errorf("the handlers learn of the drain after %v", took)
			}
			if _, err := r.Dial(); err == nil {
				t.Error("the server accepts after the drain of the front end")
			}
			d := <-result
			if d.took != after+settleTime+goAwayTime || d.Cut || d.err != nil {
				t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
			}
			time.Sleep(time.Hour)
		})
	}
}
