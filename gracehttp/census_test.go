//go:build linux

package gracehttp

import "testing"

// After its drain a process has no goroutine and no socket of ours left, whatever became of its
// connections.
func TestNothingIsLeftAfterTheDrain(t *testing.T) {
	for name, idle := range map[string]bool{"default": false, "WithIdleHandover": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, config{Idle: idle, Grace: testGrace / 4})
			var used []*connection
			for range 3 {
				for _, connect := range s.dialers() {
					connect() // stays silent
					c := connect()
					c.get("/who")
					used = append(used, c)
				}
			}
			const upgrades = 3
			for n := range upgrades {
				s.upgrade()
				if r := s.awaitReport(n + 1); r.Transferred == 0 || r.Cut > 0 {
					t.Errorf("process %d: %+v", n+1, r)
				}
			}
			s.stop()
			for n := range upgrades + 1 {
				left := s.awaitLeft(n + 1)
				if left.Goroutines > 0 || left.Sockets > 0 || left.Err != "" {
					t.Errorf("process %d leaves %+v", n+1, left)
				}
			}
			for _, c := range used {
				c.isCut() // by now at the latest
			}
		})
	}
}
