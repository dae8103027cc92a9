package httpsoak

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/httpload"
)

const (
	// progressInterval is the shortest time between two lines of progress.
	progressInterval = 5 * time.Second

	// upgradePatience bounds the average time of an upgrade with the drains that it waits for.
	upgradePatience = time.Minute
)

// wrappedKinds are the clients of connections that the service wraps.
var wrappedKinds = []string{
	"fresh", "keep-alive", "idle", "slow", "events-drained", "pipelined-large", "hijacked", "http2",
}

// driver upgrades the service again and again under load.
type driver struct {
	set     settings
	mode    mode
	trust   *tls.Config
	lineage *lineage.Lineage
	load    *httpload.Load // the latest
	random  *rand.Rand

	seen     httpload.Result // by the clients of earlier loads
	handled  int64           // requests, by all processes that have left
	drains   []time.Duration
	reported time.Time // the last progress
}

// soak runs the soak in one mode. The end of the context ends it early, without an error.
func soak(ctx context.Context, set settings, m mode) error {
	dir, err := os.MkdirTemp("", "httpsoak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nobody needs what is in it
	random := rand.New(rand.NewPCG(set.seed, 0))
	d := &driver{set: set, mode: m, random: random, reported: time.Now()}
	_, _, d.trust, err = httpload.Certificate(dir)
	if err := errors.Join(err, httpload.WriteFile(filepath.Join(dir, largeFile))); err != nil {
		return err
	}
	if d.lineage, err = lineage.Start(ctx, drainTimeout, d.note, m.name, dir); err != nil {
		return err
	}
	enough := func(done int, _ time.Duration) bool { return done >= set.upgrades }
	err = errors.Join(d.lineage.Soak(ctx, d, enough), d.lineage.Stop())
	o := &outcome{
		Outcome: &d.lineage.Outcome, mode: m, seen: d.seen, handled: d.handled, drains: d.drains,
	}
	fmt.Println(o)
	return errors.Join(err, o.verdict())
}

// note records a report.
func (d *driver) note(r lineage.Report) {
	switch r.What {
	case lineage.Drained:
		d.drains = append(d.drains, r.Took)
	case lineage.Left:
		d.handled += r.Handled
	}
}

// Load implements [lineage.Driver].
func (d *driver) Load() (stop func(), err error) {
	c := httpload.Config{
		Targets: []httpload.Target{
			{Network: "tcp", Addr: d.lineage.Addrs[plainSocket]},
			{Network: "unix", Addr: d.lineage.Addrs[unixSocket]},
			{Network: "tcp", Addr: d.lineage.Addrs[tlsSocket], TLS: d.trust},
			{
				Network: "tcp", Addr: d.lineage.Addrs[wrappedSocket], Wrapped: true,
				Kinds: wrappedKinds,
			},
		},
		Kinds:  d.set.kinds,
		Copies: d.set.copies,
		Idle:   idleGrace / 4,
		Limit:  time.Duration(d.set.upgrades) * upgradePatience,
	}
	if d.mode.keepsIdle {
		c.LongIdle = 2 * idleGrace
	}
	d.load, err = httpload.Start(c)
	return func() { d.seen = d.seen.Plus(d.load.Stop()) }, err
}

// Upgraded prints a line of progress now and then.
func (d *driver) Upgraded(context.Context) error {
	if time.Since(d.reported) < progressInterval {
		return nil
	}
	d.reported = time.Now()
	seen := d.seen.Plus(d.load.Result())
	fmt.Printf("  %s: upgrades %d, requests %d, failed %d, draining %d   %s\n",
		d.mode.name, d.lineage.Upgrades, seen.Requests, seen.Failed,
		d.lineage.Draining(), d.lineage.Growth.Latest())
	return nil
}

// Pause waits until all older generations are gone, or only for a moment, so that drains overlap.
// Both are equally likely.
func (d *driver) Pause(ctx context.Context) error {
	if d.random.IntN(2) == 0 {
		return d.lineage.AwaitDrains(0)
	}
	d.lineage.Pause(ctx, time.Duration(d.random.Int64N(int64(d.set.pause))))
	return nil
}

// FetchCensus asks over a connection of its own.
func (d *driver) FetchCensus() (*lineage.Census, error) {
	c := &http.Client{Timeout: upgradePatience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.lineage.Addrs[unixSocket])
		},
	}}
	resp, err := c.Get("http://httpsoak" + censusPath)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	var census lineage.Census
	return &census, json.NewDecoder(resp.Body).Decode(&census)
}
