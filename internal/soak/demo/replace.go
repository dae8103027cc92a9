package demo

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/soak/lineage"
)

// replaceByUpgrade upgrades the server under load.
func replaceByUpgrade(ctx context.Context, set settings, way string) (o outcome, err error) {
	t := newTable("took over in", "drained in")
	servers, err := start(ctx, t, way, anyPort)
	if err != nil {
		return o, err
	}
	defer func() { err = settle(servers, err) }()
	load := startLoad(servers.Addrs[siteSocket])
	defer load.stop()
	for range set.upgrades {
		if err := pause(ctx, servers, set.pause); err != nil {
			return o, err
		}
		if err := upgrade(ctx, servers); err != nil {
			return o, err
		}
	}
	if err := pause(ctx, servers, set.pause); err != nil {
		return o, err
	}
	return outcome{way: way, upgrades: servers.Upgrades, tally: load.stop()}, nil
}

// replaceByRestart stops and starts the server under the same load.
func replaceByRestart(ctx context.Context, set settings) (o outcome, err error) {
	t := newTable("was down for")
	server, err := start(ctx, t, plainWay, anyPort, "1")
	if err != nil {
		return o, err
	}
	defer func() { err = settle(server, err) }()
	load := startLoad(server.Addrs[siteSocket])
	defer load.stop()

	o = outcome{way: restartWay}
	for o.upgrades < set.upgrades {
		if err := pause(ctx, server, set.pause); err != nil {
			return o, err
		}
		next, err := restart(ctx, t, server)
		if err != nil {
			return o, err
		}
		server = next
		o.upgrades++
	}
	if err := pause(ctx, server, set.pause); err != nil {
		return o, err
	}
	o.tally = load.stop()
	return o, nil
}

// restart stops the server, and starts the next one at the same address.
func restart(ctx context.Context, t *table, old *lineage.Lineage) (*lineage.Lineage, error) {
	began := time.Now()
	if err := old.Stop(); err != nil {
		return nil, err
	}
	generation := fmt.Sprint(old.Serving.Generation + 1)
	server, err := start(ctx, t, plainWay, old.Addrs[siteSocket], generation)
	if err == nil {
		t.tookOver[server.Serving.PID] = time.Since(began)
	}
	return server, err
}

func start(ctx context.Context, t *table, args ...string) (*lineage.Lineage, error) {
	return lineage.Start(ctx, grace.DefaultDrainTimeout, t.note, args...)
}

// pause lets the servers serve for d.
func pause(ctx context.Context, servers *lineage.Lineage, d time.Duration) error {
	servers.Pause(ctx, d)
	return context.Cause(ctx)
}

// upgradeTimeout bounds an upgrade on a machine that is busy with something else.
const upgradeTimeout = time.Minute

// upgrade has the serving process replace itself.
func upgrade(ctx context.Context, servers *lineage.Lineage) error {
	timedOut := fmt.Errorf("it took more than %v", upgradeTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, upgradeTimeout, timedOut)
	defer cancel()
	if err := servers.Upgrade(ctx); err != nil {
		return fmt.Errorf("upgrade %d: %w", servers.Upgrades+1, err)
	}
	return servers.Verdict() // which has the error of an upgrade that failed
}

// settle stops the servers, and returns the first thing that went wrong: it explains the others.
func settle(servers *lineage.Lineage, err error) error {
	return cmp.Or(servers.Verdict(), err, servers.Stop(), servers.Verdict())
}
