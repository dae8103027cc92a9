package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-grace/grace"
)

// serveCommand is how the driver starts this program as the service: with the directory of its unix socket, and its drain
// timeout.
const serveCommand = "serve"

// report is what a process of the service tells the driver, as a line of JSON on its standard output. Generations share it;
// lines as short as these are written in one piece.
type report struct {
	What       what    `json:"what"`
	PID        int     `json:"pid"` // of the process that reports
	Generation int     `json:"generation"`
	Socket     string  `json:"socket,omitempty"` // its name
	Addr       string  `json:"addr,omitempty"`
	Successor  int     `json:"successor,omitempty"` // its process id; 0 if none was started
	Census     *census `json:"census,omitempty"`
	Error      string  `json:"error,omitempty"`
}

type what string

const (
	listening what = "listening"
	ready     what = "ready"    // about to take over, with a census before the first client
	serving   what = "serving"  // has taken over
	started   what = "started"  // a successor
	upgraded  what = "upgraded" // the successor serves
	failed    what = "failed"   // an upgrade
	draining  what = "draining" // with a census after the service
	troubled  what = "troubled" // by something that should not happen
	left      what = "left"     // the last report of a process
)

// send reports to the driver.
func send(r report) {
	r.PID = os.Getpid()
	_ = json.NewEncoder(os.Stdout).Encode(r) // if the driver is gone, so is the one to be told
}

// observe tells the driver what happens. A service would rather write a log: see [grace.WithLogger].
func observe(r grace.Record) {
	switch e := r.Event.(type) {
	case grace.SocketOpened:
		send(report{What: listening, Generation: r.Generation, Socket: e.Name, Addr: e.Addr.String()})
	case grace.ReadyFinished:
		if e.Err == nil { // else the upgrade fails, and the old process reports it
			send(report{What: serving, Generation: r.Generation})
		}
	case grace.SuccessorStarted:
		send(report{What: started, Generation: r.Generation, Successor: e.PID})
	case grace.UpgradeFinished:
		observeUpgrade(r.Generation, e)
	case grace.DrainStarted:
		send(report{What: draining, Generation: r.Generation, Census: takeCensus()})
	case grace.DrainFinished:
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
		send(report{What: failed, Generation: generation, Successor: e.Successor, Error: e.Err.Error()})
		return
	}
	send(report{What: upgraded, Generation: generation, Successor: e.Successor})
}

func trouble(generation int, err error) {
	if err != nil {
		send(report{What: troubled, Generation: generation, Error: err.Error()})
	}
}

// serveAs runs the service, as the driver has asked for it.
func serveAs(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s takes a directory and a drain timeout, not %q", serveCommand, args)
	}
	drainTimeout, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	return serve(leashed(), args[0], drainTimeout)
}

var errDriverEnded = errors.New("the driver has ended")

// leashed gives a context that ends when the driver lets go of our standard input, in whichever way it ends: no process is
// left behind.
func leashed() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errDriverEnded)
	}()
	return ctx
}
