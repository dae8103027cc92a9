package lineage

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/go-grace/grace"
)

// Report is what a process of the service tells the driver, as a line of JSON on its standard output. Generations share it;
// lines as short as these are written in one piece.
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

// Observe reports most of them; the service has to say when it is Ready, and that it has Left.
const (
	Listening What = "listening"
	Ready     What = "ready"    // about to take over, with a census before the first client
	Serving   What = "serving"  // has taken over
	Started   What = "started"  // a successor
	Upgraded  What = "upgraded" // the successor serves
	Failed    What = "failed"   // an upgrade
	Draining  What = "draining" // with a census after the service
	Drained   What = "drained"  // with the time that it took
	Troubled  What = "troubled" // by something that should not happen
	Left      What = "left"     // the last report of a process
)

// Send reports to the driver.
func Send(r Report) {
	r.PID = os.Getpid()
	_ = json.NewEncoder(os.Stdout).Encode(r) // if the driver is gone, so is the one to be told
}

// Observe tells the driver what happens. A service would rather write a log: see [grace.WithLogger].
func Observe(r grace.Record) {
	switch e := r.Event.(type) {
	case grace.SocketOpened:
		Send(Report{What: Listening, Generation: r.Generation, Socket: e.Name, Addr: e.Addr.String()})
	case grace.ReadyFinished:
		if e.Err == nil { // else the upgrade fails, and the old process reports it
			Send(Report{What: Serving, Generation: r.Generation})
		}
	case grace.SuccessorStarted:
		Send(Report{What: Started, Generation: r.Generation, Successor: e.PID})
	case grace.UpgradeFinished:
		observeUpgrade(r.Generation, e)
	case grace.DrainStarted:
		Send(Report{What: Draining, Generation: r.Generation, Census: TakeCensus()})
	case grace.DrainFinished:
		Send(Report{What: Drained, Generation: r.Generation, Took: e.Duration})
		trouble(r.Generation, e.Err)
	case grace.ParentExited:
		if !e.Drained {
			trouble(r.Generation, fmt.Errorf("generation %d has ended without finishing its drain", e.Generation))
		}
	case grace.Warned: // such as an upgrade that this process has refused to begin
		trouble(r.Generation, e.Err)
	}
}

func observeUpgrade(generation int, e grace.UpgradeFinished) {
	if e.Err != nil {
		Send(Report{What: Failed, Generation: generation, Successor: e.Successor, Error: e.Err.Error()})
		return
	}
	Send(Report{What: Upgraded, Generation: generation, Successor: e.Successor})
}

func trouble(generation int, err error) {
	if err != nil {
		Send(Report{What: Troubled, Generation: generation, Error: err.Error()})
	}
}

// readyInterval is that of the censuses before a process takes over: on a busy machine, a goroutine may need some milliseconds to end.
const readyInterval = 5 * time.Millisecond

// ReportReady is a hook that reports that the process is about to take over.
func ReportReady(generation int) grace.Hook {
	return grace.Hook{
		Name: "census",
		OnReady: func(ctx context.Context) error {
			c, err := SettledCensus(ctx, readyInterval, func() (*Census, error) { return TakeCensus().WithoutRelatives(), nil })
			if err == nil {
				Send(Report{What: Ready, Generation: generation, Census: c})
			}
			return err
		},
	}
}
