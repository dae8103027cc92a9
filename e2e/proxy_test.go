//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// proxyKind is a program that forwards requests to the service on kept connections, and sends none
// twice.
type proxyKind struct {
	name      string   // of the program and its package
	config    string   // a template, in testdata
	arguments []string // the file follows
}

var proxyKinds = []proxyKind{
	{"nginx", "nginx.conf", []string{"-c"}},
	{"haproxy", "haproxy.cfg", []string{"-db", "-f"}},
}

// proxy is a running proxy.
type proxy struct {
	*child
	addr string
}

func startProxy(t *testing.T, kind proxyKind, service string) *proxy {
	t.Helper()
	path, dir := program(t, kind.name, kind.name), t.TempDir()
	p := &proxy{addr: freeAddr(t)}
	file, err := os.Create(filepath.Join(dir, kind.config))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	config := template.Must(template.ParseFS(testdata, "testdata/"+kind.config))
	err = config.Execute(file, map[string]any{
		"Listen": p.addr, "Service": service, "Dir": dir, "Root": os.Geteuid() == 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.child = run(t, exec.Command(path, append(kind.arguments, file.Name())...))
	p.awaitReady()
	return p
}

// freeAddr returns a free address. The system does not assign its port to anybody by itself.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+rand.IntN(10000)))
		if err == nil {
			ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("there is no free port")
	return ""
}

func (p *proxy) awaitReady() {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.ended:
			p.t.Fatalf("%s does not start: %v\n%s", p.cmd, p.err, p.errors.String())
		case <-timeout:
			p.t.Fatalf("%s does not listen: %v", p.cmd, err)
		}
	}
}

// stop ends the proxy, and returns how many answers of each status it has logged.
func (p *proxy) stop() map[string]int {
	p.t.Helper()
	statuses := map[string]int{}
	for line := range strings.Lines(p.end(syscall.SIGTERM)) {
		if status, ok := strings.CutPrefix(strings.TrimSpace(line), "status="); ok {
			statuses[status]++
		}
	}
	return statuses
}

// behind is the outcome of ten upgrades behind a proxy.
type behind struct {
	wrk      wrkReport
	requests int // of clients that check the answers
	failures []string
	statuses map[string]int // of all answers
	service  totals
}

func upgradeBehind(t *testing.T, kind proxyKind, mode string) (b behind) {
	t.Helper()
	s := start(t, config{Mode: mode, Busy: 500})
	p := startProxy(t, kind, s.plain)
	wrk := startWrk(t, "http://"+p.addr+"/echo")
	load := startLoad(t, p.addr)
	s.upgradeTenTimes()
	b.requests, b.failures = load.stop()
	b.wrk = wrk.stop()
	b.statuses = p.stop()
	t.Logf("wrk: %+v; others: %d requests, %d failures; answers by status: %v",
		b.wrk, b.requests, len(b.failures), b.statuses)
	b.service = s.stop()
	return b
}

// Behind a proxy that keeps its connections to the service and sends no request twice, no client
// gets an answer of 502, or none. Each generation answers some hundred requests of the proxy:
// upgradeTenTimes waits for them.
func TestProxyNoticesNoUpgrade(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string) {
		for _, kind := range proxyKinds {
			t.Run(kind.name, func(t *testing.T) { upgradeBehind(t, kind, mode).check(t, mode) })
		}
	})
}

func (b behind) check(t *testing.T, mode string) {
	t.Helper()
	if b.wrk.errors() > 0 {
		t.Errorf("wrk reports %+v", b.wrk)
	}
	for _, f := range b.failures {
		t.Error(f)
	}
	for status := range b.statuses {
		// 499 and -1 are the last requests of wrk, which does not wait for their answers.
		if status != "200" && status != "499" && status != "-1" {
			t.Errorf("answers by status: %v", b.statuses)
		}
	}
	answers := b.wrk.Requests + b.requests
	if b.statuses["200"] < answers/2 { // under load haproxy does not log all
		t.Errorf("clients got %d answers, and the proxy logged %d", answers, b.statuses["200"])
	}
	b.service.check(t, mode)
}

// The same with http.Server.Shutdown alone shows that these tests can fail. If a client has kept
// its connection, haproxy closes that instead of answering 502.
func TestProxyNoticesShutdownAlone(t *testing.T) {
	for _, kind := range proxyKinds {
		t.Run(kind.name, func(t *testing.T) {
			b := upgradeBehind(t, kind, shutdownAlone)
			if b.wrk.errors() == 0 || b.statuses["502"] == 0 {
				t.Error("nothing has failed")
			}
		})
	}
}
