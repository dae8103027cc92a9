//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// pageResult is what the page shows at its end.
type pageResult struct {
	Answers, Generations int // and how many generations they are from
	Failures             []string
}

var pageResultElement = regexp.MustCompile(`<pre id="result">(.*)</pre>`)

// The requests of a page are answered. (In HTTP/1 the browser itself sends a request again if a
// kept connection ends without an answer, so a request may have been handled without one.)
func TestBrowserNoticesNoUpgrade(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string) {
		t.Run("HTTP1", func(t *testing.T) {
			url := func(s *service) string { return "http://" + s.plain }
			failures, had := testBrowser(t, mode, url)
			for _, f := range failures {
				t.Error(f)
			}
			had.check(t, mode)
		})
		t.Run("HTTP2", func(t *testing.T) {
			// Chromium abandons a request (ERR_FAILED) that it is about to send when a GOAWAY arrives.
			url := func(s *service) string { return "https://" + s.tls }
			failures, _ := testBrowser(t, mode, url)
			t.Logf("not sent: %q", failures)
		})
	})
}

// testBrowser returns the failures of requests that the service has not handled.
func testBrowser(
	t *testing.T, mode string, url func(*service) string,
) (failures []string, had totals) {
	t.Helper()
	path := program(t, "chromium", "chromium")
	const busy = 50
	s := start(t, config{Mode: mode, Busy: busy})
	page := fmt.Sprintf("%s/page?last=%d&answers=%d", url(s), upgrades+1, busy)
	browser := run(t, browse(t, path, page, s.cert))
	s.upgradeTenTimes()
	html := browser.wait()
	had = s.stop()

	var result pageResult
	shown := pageResultElement.FindStringSubmatch(html)
	if shown == nil || json.Unmarshal([]byte(shown[1]), &result) != nil {
		t.Fatalf("the page shows no result:\n%s", html)
	}
	if result.Answers != int(had.requests) || result.Generations != upgrades+1 {
		t.Errorf("%d requests were handled, and %d answered, by %d generations",
			had.requests, result.Answers, result.Generations)
	}
	return result.Failures, had
}

// browse returns a browser that prints a page when its scripts have ended. Virtual time sees to
// that: it stands still while the page waits for an answer.
func browse(t *testing.T, path, url string, trust certificate) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e") // short enough for the path of a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(path, "--headless", "--dump-dom", "--virtual-time-budget=600000",
		"--user-data-dir="+dir, "--ignore-certificate-errors-spki-list="+trust.pin(),
		"--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--disable-breakpad", "--no-first-run",
		// The page needs no other host.
		"--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", url)
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir) // it leaves files there
	return cmd
}
