package httpload

import (
	"context"
	"testing"
	"time"
)

// A Handler that drains ends what heeds the drain, and the answers are still right.
func TestWhatHeedsTheDrainEnds(t *testing.T) {
	draining := make(chan struct{})
	h := &Handler{Draining: func(context.Context) <-chan struct{} { return draining }}
	_, targets := serve(t, h)
	c := Config{Targets: targets, Stream: 10 * time.Second, Patience: 5 * time.Minute}
	c.Kinds = []string{"long-poll-drained", "events-drained"}
	load := start(t, c)
	until(t, "the requests", func() bool { return h.Handled() == int64(2*len(targets)) })
	if r := load.Result(); r.Requests > 0 {
		t.Errorf("%d requests were answered before the drain", r.Requests)
	}
	close(draining)
	until(t, "answers", func() bool { return load.Result().Requests >= 4*len(targets) })
	if r := load.Stop(); r.Failed > 0 {
		t.Errorf("%d of %d requests have failed: %v", r.Failed, r.Requests, r.Failures)
	}
}

// A Handler that drains says goodbye in the talks, and its clients finish them.
func TestGoodbye(t *testing.T) {
	goodbyes := make(chan struct{}, 1000)
	h := &Handler{OnDrain: func(_ context.Context, f func()) func() bool {
		return time.AfterFunc(streamTick, func() { f(); goodbyes <- struct{}{} }).Stop
	}}
	_, targets := serve(t, h)
	load := start(t, Config{Targets: targets, Kinds: []string{"hijacked"}, Stream: 2 * streamTick})
	until(t, "some talks", func() bool { return load.Result().Requests > 10 })
	if r := load.Stop(); r.Failed > 0 || len(goodbyes) == 0 {
		t.Errorf("%d of %d talks have failed, %d goodbyes: %v",
			r.Failed, r.Requests, len(goodbyes), r.Failures)
	}
}
