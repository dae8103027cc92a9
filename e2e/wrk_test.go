//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// wrkReport is what wrk counts. After an answer that says "Connection: close" wrk connects again,
// which is not an error. A connection that ends in any other way, even while idle, is a read error,
// and one that is refused a write error. Status counts the answers with 400 and above, and Timeout
// those that take too long. A request that is never answered is not counted at all.
type wrkReport struct{ Requests, Connect, Read, Write, Status, Timeout int }

// wrkScript makes wrk print its report as JSON. The report of wrk itself omits errors if there are
// none.
const wrkScript = `function done(summary)
	local e = summary.errors
	io.write(string.format('\n{"Requests": %d, "Connect": %d, "Read": %d, "Write": %d, ',
		summary.requests, e.connect, e.read, e.write))
	io.write(string.format('"Status": %d, "Timeout": %d}\n', e.status, e.timeout))
end
`

type wrk struct{ *child }

// startWrk starts clients that send each request as soon as they have the previous answer.
func startWrk(t *testing.T, url string) wrk {
	t.Helper()
	script := filepath.Join(t.TempDir(), "report.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		t.Fatal(err)
	}
	path := program(t, "wrk", "wrk")
	return wrk{run(t, exec.Command(path,
		"-t", "1", "-c", "8", "-d", "10m", "--timeout", "30s", "-s", script, url))}
}

// stop ends wrk early.
func (w wrk) stop() (r wrkReport) {
	w.t.Helper()
	out := strings.TrimSpace(w.end(syscall.SIGINT))
	if err := json.Unmarshal([]byte(out[strings.LastIndexByte(out, '\n')+1:]), &r); err != nil {
		w.t.Fatalf("%v in\n%s", err, out)
	}
	return r
}

// errors returns how many errors there were.
func (r wrkReport) errors() int { return r.Connect + r.Read + r.Write + r.Status + r.Timeout }

func TestWrkNoticesNoUpgrade(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string) {
		s := start(t, config{Mode: mode, Busy: 500})
		plain, secure := startWrk(t, "http://"+s.plain+"/echo"), startWrk(t, "https://"+s.tls+"/echo")
		s.upgradeTenTimes()
		for _, r := range []wrkReport{plain.stop(), secure.stop()} {
			if r.errors() > 0 || r.Requests == 0 {
				t.Errorf("wrk reports %+v", r)
			}
		}
		s.stop().check(t, mode)
	})
}
