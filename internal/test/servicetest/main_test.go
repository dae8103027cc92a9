//go:build linux

package servicetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Main(config.serve)
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		fmt.Fprintln(os.Stderr, "a process is left over:", err)
		code = 1
	}
	os.Exit(code)
}

// config is of a service that replaces itself on SIGHUP, and ends on SIGTERM, unless something else is said here.
type config struct {
	Log      bool // it prints a log, and no JSON
	Fails    bool // at once
	Stubborn bool // on SIGTERM it goes on
	Races    bool // on SIGTERM it ends as the race detector does it
	Heir     bool // on SIGTERM it has a successor, which goes on until there is another one
}

type said struct {
	What, Err       string
	PID, Generation int
	Detail          string
}

func (c config) serve() error {
	generation, _ := strconv.Atoi(os.Getenv("GENERATION")) // 0 is the first
	generation++
	if c.Fails {
		return errors.New("this service fails")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP, unix.SIGTERM)
	c.say(said{What: "ReadyFinished", Err: "the first attempt fails", Generation: generation})
	c.say(said{What: "ReadyFinished", Generation: generation})
	for sig := range signals {
		switch {
		case sig == unix.SIGHUP:
			return next(generation, c)
		case c.Heir:
			return next(generation, config{})
		case c.Races:
			os.Exit(raceStatus)
		case c.Stubborn:
			c.say(said{What: "no"})
		default:
			c.say(said{What: "left", Generation: generation, Detail: "bye"})
			return nil
		}
	}
	return nil
}

func next(generation int, c config) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("GENERATION=%d", generation), Env(c))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Start()
}

func (c config) say(s said) {
	s.PID = os.Getpid()
	if c.Log {
		level, what := "INFO", strings.Replace(s.What, "ReadyFinished", "ready", 1)
		if s.Err != "" {
			level, what = "ERROR", "not ready"
		}
		fmt.Fprintf(os.Stderr, "2026/01/01 00:00:00 %s %s generation=%d pid=%d role=serving\n", level, what, s.Generation, s.PID)
		return
	}
	line, _ := json.Marshal(s)
	fmt.Printf("no JSON\n%s\n", line)
}
