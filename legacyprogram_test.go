//go:build linux

package grace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// migratingMain is a service of which two programs exist: the file of modes says which one is installed.
func migratingMain(c config) error {
	if strings.HasPrefix(c.mode(), "legacy") {
		return legacyMain(c)
	}
	return linesMain(c)
}

// legacyServer is a line server that speaks the protocol of facebookgo/grace, and answers as generation 0.
type legacyServer struct {
	mode      string
	inherited []net.Listener
	listeners []net.Listener
	work      sync.WaitGroup
	draining  atomic.Bool
}

func legacyMain(c config) error {
	parent, isChild := os.Getppid(), os.Getenv("LISTEN_FDS") != ""
	s := &legacyServer{mode: c.mode()}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGUSR2, syscall.SIGTERM)
	if s.mode == "legacy-slow" {
		printEvent("LegacyStarting", "")
		select {}
	}
	if err := s.inherit(); err != nil {
		return err
	}
	endpoints := slices.Clone(c.Listen)
	if s.mode == "legacy-reversed" {
		slices.Reverse(endpoints)
	}
	for _, e := range endpoints {
		if err := s.listen(e); err != nil {
			return err
		}
	}
	if s.mode == "legacy-hang" {
		helpertest.Hang()
	}
	if s.mode == "legacy-exit" {
		os.Exit(5)
	}
	if isChild && parent != 1 {
		if err := unix.Kill(parent, unix.SIGTERM); err != nil {
			return err
		}
	}
	printEvent("LegacyServing", "")
	for sig := range signals {
		if sig == syscall.SIGTERM {
			break
		}
		if err := s.startProcess(); err != nil {
			return err
		}
	}
	printEvent("LegacyDraining", "")
	s.drain()
	return nil
}

// printEvent tells the test something, as printRecord does.
func printEvent(event, detail string) {
	line, _ := json.Marshal(printed{PID: os.Getpid(), Event: event, Detail: detail})
	_, _ = os.Stdout.Write(append(line, '\n'))
}

func (s *legacyServer) inherit() error {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for fd := 3; fd < 3+n; fd++ {
		f := os.NewFile(uintptr(fd), "listener")
		ln, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		s.inherited = append(s.inherited, ln)
	}
	return nil
}

func (s *legacyServer) listen(e endpoint) error {
	i := slices.IndexFunc(s.inherited, func(ln net.Listener) bool { return ln.Addr().String() == e.Address })
	var ln net.Listener
	var err error
	if i >= 0 {
		ln = s.inherited[i]
	} else if ln, err = net.Listen(e.Network, e.Address); err != nil {
		return err
	}
	s.listeners = append(s.listeners, ln)
	printEvent("SocketOpened", "socket="+ln.Addr().String()+" ")
	s.work.Go(func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			s.work.Go(func() { s.serve(c) })
		}
	})
	return nil
}

func (s *legacyServer) serve(c net.Conn) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		answer := fmt.Sprintf("%s 0 %d", in.Text(), os.Getpid())
		if s.draining.Load() {
			answer += " close"
		}
		if _, err := fmt.Fprintln(c, answer); err != nil {
			return
		}
	}
}

func (s *legacyServer) drain() {
	s.draining.Store(true)
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
	s.work.Wait()
}

// startProcess starts what is installed now.
func (s *legacyServer) startProcess() error {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return err
	}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	for _, ln := range s.listeners {
		f, err := ln.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "LISTEN_FDS=") })
	env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(s.listeners)))
	child, err := os.StartProcess(path, os.Args, &os.ProcAttr{Env: env, Files: files})
	if err != nil {
		return err
	}
	go func() { // ends with the child or with this process
		_, _ = child.Wait()
		printEvent("LegacyChildEnded", "")
	}()
	return nil
}

// toolMain is a development tool that binds a socket for the service, and restarts it when its files change. It starts another
// command than its own.
func toolMain(config) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", "as", "its", "child")
	cmd.Env = append(os.Environ(), envMain+"=lines", "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	printEvent("ToolStarts", "")
	return cmd.Run()
}

// closeSockets is a successor that closes what it was given, and goes no further, as one whose New is about to fail.
func closeSockets() {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for fd := 3; fd < 3+n; fd++ {
		_ = unix.Close(fd)
	}
	printEvent("Closed", "")
	time.Sleep(time.Hour)
}
