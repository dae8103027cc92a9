//go:build linux

package grace

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/helpertest"
)

// config is what a test tells the service that it starts. Successors get the same.
type config struct {
	Listen    []endpoint
	PIDFile   string
	ModeFile  string // read by each generation as it starts: how it is to misbehave, see misbehave
	Timeout   time.Duration
	Drain     time.Duration
	NoSignals bool
	Notify    bool   // the context of Run, and of Upgrade, is that of signal.NotifyContext
	Count     int    // of further listeners
	LongNames bool   // of the further listeners
	User      int    // that the service becomes; 0 is none
	Helpers   bool   // it starts helpers all the time, see runHelpers
	CheckFile string // read by the check of each upgrade: what it is to do, see checkAsTold

	MaxDraining int
	EndOldest   bool
	Probation   time.Duration
	KeepOpen    bool // the drain leaves the listeners open

	KeepAlive string // of the connections: "off", "idle" or "config"
	SharePort bool   // by SO_REUSEPORT

	// Of the main "faulty", which also asks for the successor's health during the probation.
	FaultFile string // says which fault happens where; gone once it has
	SickFile  string // while it exists, no process becomes ready

	Overrule bool // WithoutContainerCheck

	Stderr string // the file for the standard error; "" is that of the test

	Program string // that the main "forger" starts
	Grow    bool   // each successor gets PATH and a variable that are longer than those of the first process

	// How the first generation is started; "" and nil are the usual.
	Start string
	Env   []string // added
	Via   string   // the dynamic loader that is told to start it
	As    int      // the user who starts it; 0 is that of the test
	Dir   string
	Args  []string

	// How it starts others.
	NextArgs []string
	NextDir  string
	NextMark string
}

// envMark is a variable that a service may pass to its successors.
const envMark = "GRACE_TEST_MARK"

type endpoint struct{ Name, Network, Address string }

// linesMain is a service that answers each line with its own line: what was said, the generation and the pid. While it drains
// it says "close" too, and clients leave. Some lines are commands.
func linesMain(c config) error {
	if c.mode() == "exit" {
		os.Exit(3)
	}
	if c.mode() == "never-new" {
		helpertest.Hang()
	}
	if c.mode() == "close-sockets" {
		closeSockets()
	}
	m, err := New(c.options()...)
	if err != nil {
		return err
	}
	if c.Helpers {
		runHelpers(m)
	}
	s := &lineServer{m: m, config: c, listeners: map[string]net.Listener{}}
	for _, e := range c.Listen {
		if err := s.listen(e); err != nil {
			return err
		}
	}
	m.Append(Hook{Name: "lines", OnReady: s.misbehave, OnDrain: s.drain, OnParentKill: s.veto})
	switch c.mode() {
	case "early-hangup":
		_ = os.WriteFile(c.ModeFile, nil, 0o600) // only this generation
		_ = unix.Kill(os.Getpid(), unix.SIGHUP)
	case "early-terminate":
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	case "join", "join-and-hang":
		if err := s.listen(c.Listen[0]); err != nil {
			return err
		}
	case "hang-before-run":
		time.Sleep(time.Hour)
	}
	ctx := context.Background()
	if c.Notify {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
		defer stop()
		s.caller = func() context.Context { return ctx }
	}
	if err := m.Run(ctx); err != nil {
		return err
	}
	s.accepting.Wait() // whoever has closed the listeners, no Accept is left waiting
	return nil
}

func (c config) mode() string {
	mode, _ := os.ReadFile(c.ModeFile)
	return string(mode)
}

func (c config) options() []Option {
	opts := []Option{WithObserver(graceevent.ObserverFunc(c.observe))}
	if c.PIDFile != "" {
		opts = append(opts, WithPIDFile(c.PIDFile))
	}
	if c.Timeout != 0 {
		opts = append(opts, WithUpgradeTimeout(c.Timeout))
	}
	if c.Drain != 0 {
		opts = append(opts, WithDrainTimeout(c.Drain))
	}
	if c.MaxDraining != 0 {
		var more []DrainingOption
		if c.EndOldest {
			more = append(more, WithEndOldest())
		}
		opts = append(opts, WithMaxDraining(c.MaxDraining, more...))
	}
	if c.Probation != 0 {
		opts = append(opts, WithProbation(c.Probation))
	}
	if c.SharePort {
		opts = append(opts, WithListenConfig(sharedPort))
	}
	switch c.KeepAlive {
	case "off":
		opts = append(opts, WithListenConfig(net.ListenConfig{KeepAlive: -1}))
	case "idle":
		opts = append(opts, WithListenConfig(net.ListenConfig{KeepAlive: 77 * time.Second}))
	case "config":
		config := net.KeepAliveConfig{Enable: true, Idle: 33 * time.Second, Interval: 11 * time.Second, Count: 3}
		opts = append(opts, WithListenConfig(net.ListenConfig{KeepAliveConfig: config}))
	}
	if c.NextArgs != nil {
		opts = append(opts, WithArgs(c.NextArgs...), WithDir(c.NextDir), WithEnv(func(_ context.Context, env []string) ([]string, error) {
			return append(env, envMark+"="+c.NextMark), nil
		}))
	}
	if c.Grow {
		opts = append(opts, WithEnv(grow))
	}
	if c.CheckFile != "" {
		opts = append(opts, WithCheck(c.checkAsTold))
	}
	if c.Overrule {
		opts = append(opts, WithoutContainerCheck())
	}
	if c.NoSignals {
		opts = append(opts, WithUpgradeSignals(), WithShutdownSignals())
	}
	return opts
}

// printed is a Record on the standard output of a service, for the test to read.
type printed struct {
	Generation, PID int
	Role            graceevent.Role
	Handoff         string
	Event           string `json:"What"` // as package servicetest calls it
	Err             string
	Detail          string
}

func printRecord(r graceevent.Record) {
	p := printed{Generation: r.Generation, PID: r.PID, Role: r.Role, Handoff: r.Handoff, Event: strings.TrimPrefix(fmt.Sprintf("%T", r.Event), "graceevent.")}
	_, _, attrs := r.Event.Describe()
	for _, a := range attrs {
		if a.Key == "error" {
			p.Err = a.Value.String()
		} else {
			p.Detail += a.String() + " "
		}
	}
	line, _ := json.Marshal(p)
	_, _ = os.Stdout.Write(append(line, '\n')) // one write: generations share the pipe
}

type lineServer struct {
	m         *Manager
	config    config
	accepting sync.WaitGroup
	work      sync.WaitGroup // connections
	draining  atomic.Bool
	cancel    atomic.Pointer[context.CancelCauseFunc]               // of the Upgrade that runs
	more      func(command, arg string) (answer string, known bool) // commands of another program; nil if there are none
	caller    func() context.Context                                // of Upgrade; nil is the background
	talk      func(net.Conn)                                        // serves a connection of another program; nil is serve

	mu        sync.Mutex
	listeners map[string]net.Listener
}

func (s *lineServer) listen(e endpoint) error {
	var opts []ListenOption
	if e.Name != "" {
		opts = append(opts, WithName(e.Name))
	}
	ln, err := s.m.Listen(context.Background(), e.Network, e.Address, opts...)
	if err != nil {
		return err
	}
	key := ln.Addr().Network() + " " + ln.Addr().String()
	s.mu.Lock()
	if s.listeners[key] != nil { // of a shared port
		key += " again"
	}
	s.listeners[key] = ln
	s.mu.Unlock()
	serve := s.serve
	if s.talk != nil {
		serve = s.talk
	}
	s.accepting.Go(func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			s.work.Go(func() { serve(c) })
		}
	})
	return nil
}

// misbehave is the last step of the start-up.
func (s *lineServer) misbehave(ctx context.Context) error {
	switch mode := s.config.mode(); mode {
	case "exit-after-listen":
		os.Exit(4)
	case "panic":
		panic("as told")
	case "crash":
		go panic("as told")
		<-ctx.Done()
	case "part-panic":
		s.m.Go(func() error { panic("as told") })
		<-ctx.Done()
	case "hang", "join-and-hang":
		<-ctx.Done()
		select {}
	case "hang-politely":
		<-ctx.Done()
	case "hook-error":
		return errors.New("the database is not there")
	case "kill-parent":
		p, _ := s.m.Parent()
		return unix.Kill(p.PID, unix.SIGKILL)
	case "stop-parent":
		p, _ := s.m.Parent()
		return stopParent(p.PID)
	}
	return nil
}

// veto keeps a parent from being signalled.
func (s *lineServer) veto(context.Context, Process) error {
	if s.config.mode() == "veto" {
		return errors.New("let it live")
	}
	return nil
}

func (s *lineServer) drain(ctx context.Context) error {
	s.draining.Store(true)
	if !s.config.KeepOpen {
		s.closeListeners()
		s.accepting.Wait() // a connection that was accepted just before counts as work
	}
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *lineServer) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
}

func (s *lineServer) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewScanner(c)
	for in.Scan() {
		answer := s.answer(c, in.Text())
		if s.draining.Load() {
			answer += " close"
		}
		if _, err := fmt.Fprintln(c, answer); err != nil {
			return
		}
	}
}

func (s *lineServer) answer(conn net.Conn, line string) string {
	command, arg, _ := strings.Cut(line, " ")
	switch command {
	case "upgrade":
		return s.upgrade(arg)
	case "cancel":
		(*s.cancel.Load())(errTestCancels)
		return "cancelled"
	case "status":
		st := s.m.Status()
		return toJSON(map[string]any{"generation": st.Generation, "state": st.State, "sockets": len(st.Sockets), "parent": st.Parent, "successor": st.Successor, "draining": st.Draining})
	case "census":
		return toJSON(takeCensus())
	case "collect":
		runtime.GC()
		return "collected"
	case "exe":
		exe, _ := os.Readlink("/proc/self/exe")
		dir, _ := os.Getwd()
		return toJSON(map[string]any{"Exe": exe, "Args": os.Args, "Dir": dir, "Mark": os.Getenv(envMark)})
	case "wander":
		return fmt.Sprint(os.Chdir("/"), os.Setenv(envMark, "changed"))
	case "env":
		return toJSON(os.Getenv(arg))
	case "retitle":
		return retitle()
	case "ready":
		return fmt.Sprint(s.m.Ready(context.Background()))
	case "fail":
		return fmt.Sprint(s.m.Fail(errors.New(arg)))
	case "keepalive":
		return keepAlive(conn)
	case "close":
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Sprint(s.listeners[arg].Close())
	case "listen":
		network, address, _ := strings.Cut(arg, " ")
		return fmt.Sprint(s.listen(endpoint{Network: network, Address: address}))
	}
	if answer, ok := s.limitCommand(command, arg); ok {
		return answer
	}
	if s.more != nil {
		if answer, known := s.more(command, arg); known {
			return answer
		}
	}
	return line + " " + strconv.Itoa(s.m.generation) + " " + strconv.Itoa(os.Getpid())
}

var errTestCancels = errors.New("cancelled by the test")

// upgrade takes how long to wait before it cancels. The command "cancel" does it too.
func (s *lineServer) upgrade(arg string) string {
	ctx := context.Background()
	if s.caller != nil {
		ctx = s.caller()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if d, err := time.ParseDuration(arg); err == nil {
		defer time.AfterFunc(d, func() { cancel(errTestCancels) }).Stop()
	}
	if s.cancel.CompareAndSwap(nil, &cancel) { // it is the first of several at once
		defer s.cancel.Store(nil)
	}
	if err := s.m.Upgrade(ctx); err != nil {
		return toJSON(err.Error())
	}
	return "upgraded"
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// census is everything that must not grow.
type census struct {
	Descriptors []string // what each is, and whether it blocks
	Goroutines  int
	Children    int
	Env         []string
}

func takeCensus() census {
	var c census
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		fd, _ := strconv.Atoi(e.Name())
		flags, flagErr := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flagErr != nil {
			continue // the descriptor of ReadDir itself
		}
		mode := "blocking"
		if flags&unix.O_NONBLOCK != 0 {
			mode = "nonblocking"
		}
		c.Descriptors = append(c.Descriptors, target+" "+mode)
	}
	slices.Sort(c.Descriptors)
	c.Goroutines = runtime.NumGoroutine()
	c.Children = len(children())
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "LISTEN_") || strings.HasPrefix(e, "GRACE_LINK") {
			c.Env = append(c.Env, e)
		}
	}
	return c
}
