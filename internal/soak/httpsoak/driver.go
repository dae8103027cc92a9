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
	// progressInterval is the time between two lines of progress.
	progressInterval = 5 * time.Second

	// upgradePatience is what an upgrade may take at the most, on average, with the drains that it waits for.
	upgradePatience = time.Minute
)

// driver asks the service for one upgrade after the other, under load.
type driver struct {
	set     settings
	mode    mode
	trust   *tls.Config
	lineage *lineage.Lineage
	load    *httpload.Load // the latest
	chance  *rand.Rand

	seen     httpload.Result // by the clients of earlier loads
	handled  int64           // by all processes that have left
	drains   []time.Duration
	reported time.Time // the last progress
}

// soak is all of one mode. The context ends it early, as if it had been meant to be no longer.
func soak(ctx context.Context, set settings, m mode) error {
	dir, err := os.MkdirTemp("", "httpsoak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // there is nothing in it that anybody needs
	d := &driver{set: set, mode: m, chance: rand.New(rand.NewPCG(set.seed, 0)), reported: time.Now()}
	_, _, d.trust, err = httpload.Certificate(dir)
	if err := errors.Join(err, httpload.WriteFile(filepath.Join(dir, largeFile))); err != nil {
		return err
	}
	if d.lineage, err = lineage.Start(ctx, drainTimeout, d.note, m.name, dir); err != nil {
		return err
	}
	err = d.lineage.Soak(ctx, d, func(done int, _ time.Duration) bool { return done == set.upgrades })
	err = errors.Join(err, d.lineage.Stop())
	o := &outcome{Outcome: &d.lineage.Outcome, mode: m, seen: d.seen, handled: d.handled, drains: d.drains}
	fmt.Println(o)
	return errors.Join(err, o.verdict())
}

// note remembers a report.
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
		},
		Copies: d.set.copies,
		Idle:   idleGrace / 4,
		Limit:  time.Duration(d.set.upgrades+lineage.WarmUps) * upgradePatience,
	}
	if d.mode.keeps {
		c.LongIdle = 2 * idleGrace
	}
	d.load, err = httpload.Start(c)
	return func() { d.seen = d.seen.Plus(d.load.Stop()) }, err
}

// Upgraded says now and then how it goes.
func (d *driver) Upgraded(context.Context) error {
	if time.Since(d.reported) < progressInterval {
		return nil
	}
	d.reported = time.Now()
	seen := d.seen.Plus(d.load.Result())
	fmt.Printf("  %s: upgrades %d, requests %d, failed %d, draining %d   %s\n", d.mode.name,
		d.lineage.Upgrades, seen.Requests, seen.Failed, d.lineage.Draining(), d.lineage.Growth.Latest())
	return nil
}

// Rest waits until all older generations are gone, or only for a moment: then drains overlap. Each is as likely as the other.
func (d *driver) Rest(ctx context.Context) error {
	if d.chance.IntN(2) == 0 {
		return d.lineage.AwaitDrains(0)
	}
	d.lineage.Pause(ctx, time.Duration(d.chance.Int64N(int64(d.set.pause))))
	return nil
}

// AskCensus asks over a connection of its own.
func (d *driver) AskCensus() (*lineage.Census, error) {
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
