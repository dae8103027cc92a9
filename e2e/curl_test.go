//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// curlSeries is how many requests curl sends in one run, one after another, on one connection if
// the server lets it.
const curlSeries = 100

// Every request of curl is answered, and curl sends none twice, as it does if a kept HTTP/1
// connection ends without an answer. (In HTTP/2, curl 7.88 sends nothing again, not even what the
// server has refused.)
func TestCurlNoticesNoUpgrade(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string) {
		path := program(t, "curl", "curl")
		s := start(t, config{Mode: mode, Busy: 100})
		plain, secure := "http://"+s.plain, "https://"+s.tls
		runs := map[string]*repeated{} // by method
		for method, arguments := range map[string][]string{
			"GET":   curlArguments(plain, "--http1.1"),
			"POST":  curlArguments(plain, "--http1.1", "--data", "hello"),
			"PUT":   curlArguments(secure, "--http1.1", "--data", "hello", "--cacert", s.cert.file),
			"PATCH": curlArguments(secure, "--http2", "--data", "hello", "--cacert", s.cert.file),
		} {
			runs[method] = repeat(t, path, append(arguments, "--request", method)...)
		}
		s.upgradeTenTimes()
		for method, r := range runs {
			for _, out := range r.stop() {
				if err := checkCurl(out, method); err != nil {
					t.Errorf("%s: %v\n%s", method, err, out)
				}
			}
		}
		s.stop().check(t, mode)
	})
}

func curlArguments(url string, more ...string) []string {
	return append([]string{
		"--disable", "--noproxy", "*", "--retry", "0", "--rate", "100/s",
		"--verbose", "--no-progress-meter", "--write-out", "status %{http_code}\n",
		fmt.Sprintf("%s/echo?id=[1-%d]", url, curlSeries),
	}, more...)
}

// checkCurl looks for each answer and its status in the output of curl.
func checkCurl(out, method string) error {
	if strings.Contains(out, "retrying") {
		return errors.New("a request was sent twice")
	}
	answers := 0
	for line := range strings.Lines(out) {
		var a answer
		if !strings.HasPrefix(line, `{"`) || json.Unmarshal([]byte(line), &a) != nil {
			continue
		}
		if answers++; a.ID != fmt.Sprint(answers) || a.Method != method {
			return fmt.Errorf("answer %d is %+v", answers, a)
		}
	}
	if n := strings.Count(out, "status 200\n"); answers != curlSeries || n != curlSeries {
		return fmt.Errorf("%d answers are complete, and %d are 200", answers, n)
	}
	return nil
}
