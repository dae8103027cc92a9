package lineage

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
)

// Report is a line of JSON in which a process of the service tells the driver what happened. All
// generations write to the same standard output; lines as short as these are written in one piece.
type Report struct {
	What       What          `json:"what"`
	PID        int           `json:"pid"` // of the process that reports
	Generation int           `json:"generation"`
	Socket     string        `json:"socket,omitempty"` // its name
	Addr       string        `json:"addr,omitempty"`
	Successor  int           `json:"successor,omitempty"` // its process id; 0 if none was started
	Census     *Census       `json:"census,omitempty"`
	Took       time.Duration `json:"took,omitempty"`
	Handled    int64         `json:"handled,omitempty"` // requests
	Error      string        `json:"error,omitempty"`
}

// What is the kind of a [Report].
type What string

// The kinds of reports. [Observe] sends most of them; the service sends Ready and Left itself.
const (
	Listening What = "listening"
	Ready     What = "ready"    // about to take over, with a census before the first client
	Serving   What = "serving"  // has taken over
	Started   What = "started"  // a successor
	Upgraded  What = "upgraded" // the successor serves; with the duration of the upgrade
	Failed    What = "failed"   // an upgrade
	Draining  What = "draining" // with a census after the service
	Drained   What = "drained"  // with the duration of the drain
	Warned    What = "warned"   // of something that must not happen
	Left      What = "left"     // the last report of a process
)

// Send reports to the driver.
func Send(r Report) {
	r.PID = os.Getpid()
	_ = json.NewEncoder(os.Stdout).Encode(r) // it fails if the driver is gone, and nobody listens
}

// Observe reports the events of a Manager to the driver. A service would rather log them: see
// [grace.WithLogger].
func Observe(_ context.Context, r graceevent.Record) {
	switch e := r.Event.(type) {
	case graceevent.SocketOpened:
		addr := e.Addr.String()
		Send(Report{What: Listening, Generation: r.Generation, Socket: e.Name, Addr: addr})
	case graceevent.ReadyFinished:
		if e.Err == nil { // otherwise the upgrade fails, and the old process reports it
			Send(Report{What: Serving, Generation: r.Generation})
		}
	case graceevent.SuccessorStarted:
		Send(Report{What: Started, Generation: r.Generation, Successor: e.PID})
	case graceevent.UpgradeFinished:
		observeUpgrade(r.Generation, e)
	case graceevent.DrainStarted:
		Send(Report{What: Draining, Generation: r.Generation, Census: TakeCensus()})
	case graceevent.DrainFinished:
		Send(Report{What: Drained, Generation: r.Generation, Took: e.Duration})
		warn(r.Generation, e.Err)
		if n := e.CutConnections(); n > 0 {
			warn(r.Generation, fmt.Errorf("%d connections were cut: %v", n, e.Cut))
		}
	case graceevent.ParentExited:
		if !e.Drained {
			err := fmt.Errorf("generation %d exited before its drain finished", e.Generation)
			warn(r.Generation, err)
		}
	default: // such as an upgrade that this process refused to begin
		if level, message, attrs := e.Describe(); level >= slog.LevelWarn {
			warn(r.Generation, fmt.Errorf("%s %v", message, attrs))
		}
	}
}

func observeUpgrade(generation int, e graceevent.UpgradeFinished) {
	r := Report{What: Upgraded, Generation: generation, Successor: e.Successor, Took: e.Duration}
	if e.Err != nil {
		r.What, r.Error = Failed, e.Err.Error()
	}
	Send(r)
}

func warn(generation int, err error) {
	if err != nil {
		Send(Report{What: Warned, Generation: generation, Error: err.Error()})
	}
}

// readyInterval is the time between two censuses of a process that is about to take over. On a busy
// machine, a goroutine may need some milliseconds to end.
const readyInterval = 5 * time.Millisecond

// ReportReady returns a hook which reports that the process is about to take over.
func ReportReady(generation int) grace.Hook {
	take := func() (*Census, error) { return TakeCensus().WithoutLinks(), nil }
	return grace.Hook{
		Name: "census",
		OnReady: func(ctx context.Context) error {
			c, err := SettledCensus(ctx, readyInterval, take)
			if err == nil {
				Send(Report{What: Ready, Generation: generation, Census: c})
			}
			return err
		},
	}
}
