package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// How the demo starts itself as a server: one of these, the address, and for a plain server, which has no Manager, its generation.
const (
	servePoliteCommand   = "serve-polite"
	serveHandoverCommand = "serve-handover"
	serveShutdownCommand = "serve-shutdown"
	servePlainCommand    = "serve-plain"
	anyPort              = "127.0.0.1:0"
)

// report is what a server tells the demo, as a line of JSON on its standard output. Servers that live at the same time share
// it; lines as short as these are written in one piece.
type report struct {
	What       what          `json:"what"`
	PID        int           `json:"pid"` // of the process that reports
	Generation int           `json:"generation"`
	Addr       string        `json:"addr,omitempty"`
	Successor  int           `json:"successor,omitempty"` // its process id
	Took       time.Duration `json:"took,omitempty"`
	Requests   int64         `json:"requests,omitempty"`
	Error      string        `json:"error,omitempty"`
}

type what string

const (
	listening what = "listening"
	serving   what = "serving"
	started   what = "started"  // a successor
	upgraded  what = "upgraded" // the successor serves
	failed    what = "failed"   // an upgrade
	drained   what = "drained"
	left      what = "left" // the last report of a process
)

// send reports to the demo.
func send(r report) {
	r.PID = os.Getpid()
	_ = json.NewEncoder(os.Stdout).Encode(r) // if the demo is gone, so is the one to be told
}

// serveAs runs a server process, as the demo has asked for it.
func serveAs(command string, args []string) error {
	ctx := leashed()
	switch drain := drains[command]; {
	case drain != nil && len(args) == 1:
		return serve(ctx, args[0], drain)
	case command == servePlainCommand && len(args) == 2:
		generation, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return servePlain(ctx, args[0], generation)
	}
	return fmt.Errorf("%s does not take %q", command, args)
}

var errDemoEnded = errors.New("the demo has ended")

// leashed gives a context that ends when the demo lets go of our standard input, in whichever way it ends: no server is left
// behind.
func leashed() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errDemoEnded)
	}()
	return ctx
}
