//go:build linux

package e2e

import (
	"net/http"
	"testing"
)

// The handler of golang.org/x/net/http2/h2c hides its connections from the server, so that nobody
// can tell their clients of the drain. Each process warns of that, once. (Without it, h2load shows
// that an upgrade is not noticed.)
func TestHijackedHTTP2IsReported(t *testing.T) {
	s := start(t, config{Mode: hijacking})
	for generation := 1; generation <= 2; generation++ {
		for range 3 {
			askHTTP2(t, "http://"+s.plain+"/echo?id=a")
		}
		s.Upgrade()
		s.awaitOf(generation, "UpgradeFinished")
	}
	s.stop()
	warnings := make(map[int]int)
	for _, l := range s.Lines() {
		if l.What == "HijackedHTTP2" {
			warnings[l.Generation]++
		}
	}
	if len(warnings) != 2 || warnings[1] != 1 || warnings[2] != 1 {
		t.Errorf("warnings by generation: %v", warnings)
	}
}

// askHTTP2 sends a request without TLS, on a connection of its own.
func askHTTP2(t *testing.T, url string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: patience}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 2 {
		t.Errorf("the answer is one of %s", resp.Proto)
	}
	if err := check(resp, answer{ID: "a", Method: http.MethodGet}); err != nil {
		t.Error(err)
	}
}
