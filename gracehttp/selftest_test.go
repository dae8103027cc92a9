package gracehttp

import (
	"net/http"
	"testing"
	"time"
)

// The net/http of this program works in the way that WithIdleHandover relies on, whatever the
// settings of the server.
func TestIdleRule(t *testing.T) {
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	for i, srv := range []*http.Server{
		{}, {ReadTimeout: time.Second}, {ReadHeaderTimeout: time.Second},
		{IdleTimeout: time.Second}, {WriteTimeout: time.Second},
		{ReadTimeout: time.Nanosecond, ReadHeaderTimeout: time.Nanosecond, IdleTimeout: time.Nanosecond},
		{MaxHeaderBytes: 1}, {Protocols: both}, {Protocols: both, ReadTimeout: time.Second},
	} {
		start := time.Now()
		if _, err := newIdleRule(srv); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		t.Log(time.Since(start))
	}
}

// The rule needs both conditions: without one of them, connections with a part of a request count
// as idle.
func TestIdleRuleWithoutOneCondition(t *testing.T) {
	for name, rule := range map[string]idleRule{
		"any size":                func(sets, _ int) bool { return sets == 1 },
		"any number of deadlines": func(_, size int) bool { return size == 4096 },
	} {
		wrong := 0
		for _, tr := range selfTests {
			if err := tr.check(&http.Server{}, rule); err != nil {
				wrong++
				t.Logf("%s: %v", name, err)
			}
		}
		if wrong == 0 {
			t.Errorf("%s: no self-test fails", name)
		}
	}
}
