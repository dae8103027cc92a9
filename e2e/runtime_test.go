//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// idleGrace is the grace period of a service whose clients are idle for a part of it.
	idleGrace = 4 * time.Second
	idlePause = 2500 * time.Millisecond
	// drainMargin is how much longer than the grace period a drain may take, on a busy machine.
	drainMargin = 3 * time.Second
	// drainTimeout makes a drain that waits for a pinned connection exceed both.
	drainTimeout = 15 * time.Second
)

// runtimeKind is a language whose own HTTP clients a program in testdata puts to use.
type runtimeKind struct {
	program, pkg, source string
	options              []string // of the program; the source follows
	maxAbandoned         int      // requests that the clients may abandon in ten upgrades
}

var (
	// jdk sends nothing twice. By default HttpClient repeats a GET whose connection has ended without
	// an answer, which only the limit on all attempts prevents, and any request that could not
	// connect; HttpURLConnection repeats even a POST. The last options make the JVM small.
	//
	// Old versions abandon what is on its way when a GOAWAY is. That is rare, but a server can only
	// wait for a moment without streams. New versions abandon nothing.
	jdk = runtimeKind{"java", "default-jdk-headless", "Client.java", []string{
		"-Djdk.httpclient.redirects.retrylimit=1", "-Djdk.httpclient.disableRetryConnect=true",
		"-Djdk.httpclient.enableAllMethodRetry=false", "-Dsun.net.http.retryPost=false",
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m",
	}, 2 * upgrades}
	// node never sends anything twice by itself. What it abandons, it has never sent.
	node = runtimeKind{"node", "nodejs", "client.mjs", nil, math.MaxInt}
)

// clients is a running program with clients.
type clients struct {
	*child
	stdin io.Closer
}

// target is where clients send their requests.
type target struct {
	plain, tls string // addresses
	cert       certificate
	h2c        bool
}

func (k runtimeKind) start(t *testing.T, to target) clients {
	t.Helper()
	source, err := testdata.ReadFile("testdata/" + k.source)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), k.source)
	if err := os.WriteFile(file, source, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(k.options), file, "http://"+to.plain, "https://"+to.tls,
		to.cert.file, fmt.Sprint(idlePause.Milliseconds()))
	if to.h2c {
		args = append(args, "h2c")
	}
	cmd := exec.Command(program(t, k.program, k.pkg), args...)
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+to.cert.file)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return clients{run(t, cmd), stdin}
}

// stop ends the clients, and returns what became of their requests.
func (c clients) stop() *tally {
	c.t.Helper()
	if err := c.stdin.Close(); err != nil {
		c.t.Error(err)
	}
	got := &tally{
		requests: map[string]int{}, failures: map[string][]string{},
		answers: map[int]int{}, abandoned: map[string]int{},
	}
	for line := range strings.Lines(c.wait()) {
		got.add(strings.TrimSuffix(line, "\n"))
	}
	return got
}

// tally is what became of requests.
type tally struct {
	requests  map[string]int      // by client
	failures  map[string][]string // likewise
	answers   map[int]int         // by generation
	abandoned map[string]int      // by client, because of a GOAWAY
}

// errAbandoned is the error of a request that its client has abandoned.
var errAbandoned = errors.New("abandoned")

// add adds a request by the line that a client has printed.
func (g *tally) add(line string) {
	name, generation, err := parseOutcome(line)
	g.requests[name]++
	switch err {
	case nil:
		g.answers[generation]++
	case errAbandoned:
		g.abandoned[name]++
	default:
		g.failures[name] = append(g.failures[name], err.Error())
	}
}

// parseOutcome returns the client of a line, and the generation that has answered its request. The
// body of a POST is the id of the request.
func parseOutcome(line string) (name string, generation int, err error) {
	fields := strings.Split(line, "\t")
	if len(fields) != 5 {
		return line, 0, errors.New("the line does not have five fields")
	}
	want := answer{ID: fields[2], Method: fields[1]}
	if want.Method == http.MethodPost {
		want.Body = want.ID
	}
	name = fields[0] + ", " + want.Method
	status, text := fields[3], fields[4]
	if status == "abandoned" {
		return name, 0, errAbandoned
	}
	var got answer
	if status != "200" || json.Unmarshal([]byte(text), &got) != nil {
		return name, 0, fmt.Errorf("%s: %s", status, text)
	}
	want.Generation, want.PID = got.Generation, got.PID
	if got != want {
		return name, 0, fmt.Errorf("got %+v instead of %+v", got, want)
	}
	return name, got.Generation, nil
}

func (g *tally) answered() int { return sum(g.answers) }

func (g *tally) failed() (n int) {
	for _, f := range g.failures {
		n += len(f)
	}
	return n
}

func sum[K comparable](numbers map[K]int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// report fails the test of clients whose requests have failed.
func (g *tally) report(t *testing.T) {
	t.Helper()
	t.Logf("%d answers, %d failures; answers by generation: %v; abandoned: %v",
		g.answered(), g.failed(), g.answers, g.abandoned)
	for _, name := range slices.Sorted(maps.Keys(g.failures)) {
		failures := slices.Sorted(slices.Values(g.failures[name]))
		t.Errorf("%s: of %d requests %d failed: %q",
			name, g.requests[name], len(failures), slices.Compact(failures))
	}
}

// No client of the JDK and of Node.js loses a request in ten upgrades, although none sends a
// request twice. Their requests would change to HTTP/2 (as all of the JDK's default client do),
// wait for 100 (Continue), or get early hints first, from the service or through a reverse proxy.
// A handler says itself that its connection is kept. None of that pins a connection to the old
// process. (Requests that an HTTP/2 client abandons itself when a GOAWAY arrives are counted apart.)
func TestRuntimesNoticeNoUpgrade(t *testing.T) {
	for _, kind := range []runtimeKind{jdk, node} {
		t.Run(kind.program, func(t *testing.T) {
			inEachMode(t, func(t *testing.T, mode string) {
				t.Parallel()
				upgradeUnder(t, kind, config{
					Mode: mode, Busy: 200, WithoutH2C: mode == "polite",
					IdleGrace: idleGrace, DrainTimeout: drainTimeout,
				})
			})
		})
	}
}

func upgradeUnder(t *testing.T, kind runtimeKind, c config) {
	t.Helper()
	s := start(t, c)
	clients := kind.start(t, target{s.plain, s.tls, s.cert, !c.WithoutH2C})
	s.upgradeTenTimes()
	got := clients.stop()
	had := s.stop()
	got.report(t)
	for n := range upgrades + 1 {
		if got.answers[n+1] == 0 {
			t.Errorf("generation %d has answered nothing", n+1)
		}
	}
	abandoned := sum(got.abandoned)
	if lost := int(had.requests) - got.answered(); lost < 0 || lost > got.failed()+abandoned {
		t.Errorf("%d requests were handled, and %d answered", had.requests, got.answered())
	}
	if abandoned > kind.maxAbandoned {
		t.Errorf("%d requests were abandoned", abandoned)
	}
	had.check(t, c.Mode)
	s.checkDrains()
}

// checkDrains fails the test of a service in which a drain has cut a connection, or taken much
// longer than the grace period.
func (s *service) checkDrains() {
	s.t.Helper()
	drains := map[string]int{}
	for _, l := range s.Lines() {
		if l.What != "DrainReport" && l.What != "DrainFinished" {
			continue
		}
		drains[l.What]++
		if l.Cut > 0 || l.Duration > idleGrace+drainMargin {
			s.t.Errorf("%s of generation %d: %v, %d connections cut",
				l.What, l.Generation, l.Duration, l.Cut)
		}
	}
	if drains["DrainReport"] != upgrades+1 || drains["DrainFinished"] != upgrades+1 {
		s.t.Errorf("there were not %d drains, but %v", upgrades+1, drains)
	}
}

// The clients of the JDK and of Node.js report each request that a server does not answer, so they
// send none twice.
func TestRuntimesSendNothingTwice(t *testing.T) {
	for _, kind := range []runtimeKind{jdk, node} {
		t.Run(kind.program, func(t *testing.T) {
			t.Parallel()
			to, dropped := serveSome(t)
			c := kind.start(t, to)
			awaitDrops(t, dropped, c)
			got := c.stop()
			if got.failed() != int(dropped.Load()) {
				t.Errorf("%d requests were not answered, but %d failed", dropped.Load(), got.failed())
				got.report(t)
			}
		})
	}
}

// serveSome starts a server that ends the connection of each fifth request, or in HTTP/2 its
// stream, instead of answering.
func serveSome(t *testing.T) (to target, dropped *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	dropped = new(atomic.Int64)
	h := new(handler)
	proxy, err := h.proxy()
	if err != nil {
		t.Fatal(err)
	}
	to = target{cert: newCertificate(t)}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%5 == 0 {
			_, _ = io.Copy(io.Discard, r.Body) // net/http would wait for it
			dropped.Add(1)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	})}
	plain, tls := listen(t), listen(t)
	to.plain, to.tls = plain.Addr().String(), tls.Addr().String()
	go srv.Serve(plain)                             //nolint:errcheck // it ends with the server
	go srv.ServeTLS(tls, to.cert.file, to.cert.key) //nolint:errcheck // likewise
	t.Cleanup(func() { srv.Close() })
	return to, dropped
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// awaitDrops waits until many requests have not been answered.
func awaitDrops(t *testing.T, dropped *atomic.Int64, c clients) {
	t.Helper()
	for began := time.Now(); dropped.Load() < 100; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("%d requests were dropped: %s", dropped.Load(), c.end(syscall.SIGKILL))
		}
	}
}
