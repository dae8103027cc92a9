//go:build linux

package grace

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wiring"
)

// gift is what a process was passed.
type gift struct {
	Files   []string
	States  map[string]string // what sumOf says
	Unknown [2]string         // the errors about unknown names
	Wrong   []string          // files that are not what they should be
}

// passServer is a lineServer that passes on whatever it is told to, and what it was passed itself, except for the names that
// begin with "once"; it does not ask for those that begin with "ignored".
type passServer struct {
	*lineServer
	gift gift

	mu     sync.Mutex
	files  map[string]*os.File
	states map[string]string // how each is encoded
	damage string            // that the file of states suffers on its way

	talking          sync.Mutex // held while talkers are started and stopped
	talkers          map[string]*talker
	halves           map[string][]byte // of lines, that the previous process had read
	ready, upgrading bool              // an upgrade may begin as soon as the process is ready, before the talkers are started
}

func passMain(c config) error {
	if c.mode() == "exit" {
		os.Exit(3)
	}
	s := &passServer{files: map[string]*os.File{}, talkers: map[string]*talker{}, halves: map[string][]byte{}, states: map[string]string{}}
	s.gift.States = map[string]string{}
	wires := wiring.Processes()
	wires.Launch = s.launch
	m, err := New(append(c.options(), withWiring(wires))...)
	if err != nil {
		return err
	}
	s.lineServer = &lineServer{m: m, config: c, listeners: map[string]net.Listener{}, more: s.answer}
	for _, e := range c.Listen {
		if err := s.listen(e); err != nil {
			return err
		}
	}
	if err := s.inherit(); err != nil {
		if c.mode() == "undecodable" {
			return errors.Join(err, m.Fail(err))
		}
		return err
	}
	m.Append(Hook{Name: "lines", OnReady: s.misbehave, OnDrain: s.drain})
	m.Append(Hook{Name: "decode", OnReady: s.decode})
	m.Append(Hook{Name: "talkers", OnUpgrade: s.pauseTalkers, OnUpgradeFailed: s.resumeTalkers, OnDrain: s.closeTalkers})
	if err := m.Ready(context.Background()); err != nil {
		return err
	}
	s.talk(func() { s.ready = true })
	return m.Run(context.Background())
}

var errVersion = errors.New("sessions: this is version 1 of the format, and I read version 2")

// decode is the start-up step that reads the state in programs that read it late.
func (s *passServer) decode(context.Context) error {
	if s.config.mode() == "undecodable-at-hook" {
		return errVersion
	}
	return nil
}

// inherit takes what this process was passed, and passes it on.
func (s *passServer) inherit() error {
	if _, err := s.m.InheritedFile("no such"); err != nil {
		s.gift.Unknown[0] = err.Error()
	}
	if _, err := s.m.InheritedState("no such"); err != nil {
		s.gift.Unknown[1] = err.Error()
	}
	files, states := s.m.inherited.Names()
	for _, name := range states {
		if err := s.inheritState(name); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := s.inheritFile(name); err != nil {
			return err
		}
	}
	if mode := s.config.mode(); mode == "undecodable" || mode == "undecodable-return" {
		return errVersion
	}
	return nil
}

func (s *passServer) inheritState(name string) error {
	if strings.HasPrefix(name, "ignored") {
		return nil
	}
	data, err := s.m.InheritedState(name)
	if err != nil {
		return err
	}
	s.gift.States[name] = sumOf(data)
	if strings.HasPrefix(name, "conn") {
		s.halves[name] = data
		return nil
	}
	return s.passState(name, fmt.Sprint(len(data)))
}

func (s *passServer) inheritFile(name string) error {
	if strings.HasPrefix(name, "ignored") {
		return nil
	}
	f, err := s.m.InheritedFile(name)
	if err != nil {
		return err
	}
	s.gift.Files = append(s.gift.Files, name)
	if again, err := s.m.InheritedFile(name); err == nil {
		s.gift.Wrong = append(s.gift.Wrong, again.Name())
	}
	if strings.HasPrefix(name, "many") {
		s.checkMany(name, f)
	}
	if strings.HasPrefix(name, "conn") {
		conn, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		return s.addTalker(name, conn, s.halves[name])
	}
	s.files[name] = f
	if strings.HasPrefix(name, "once") {
		return nil
	}
	return s.m.PassFile(name, f)
}

// checkMany looks whether a file is the one of its name.
func (s *passServer) checkMany(name string, f *os.File) {
	content := make([]byte, 100)
	if n, _ := f.ReadAt(content, 0); string(content[:n]) != name {
		s.gift.Wrong = append(s.gift.Wrong, fmt.Sprintf("%s is %q", name, content[:n]))
	}
}

// answer knows more commands than a lineServer.
func (s *passServer) answer(command, arg string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	args := append(strings.Fields(arg), "", "", "")
	var err error
	switch command {
	case "gift":
		return toJSON(s.gift), true
	case "open":
		err = s.openFile(args[0], args[1], "")
	case "many":
		for i := range atoi(args[0]) {
			name := fmt.Sprint("many", i)
			err = errors.Join(err, s.openFile(name, filepath.Join(args[1], name), name))
		}
	case "pipe":
		err = s.openPipe(args[0], args[1])
	case "eventfd":
		err = s.openEventfd(args[0], atoi(args[1]))
	case "connect":
		err = s.connect(args[0], args[1], args[2])
	case "write":
		_, err = s.files[args[0]].WriteString(args[1])
	case "read":
		b := make([]byte, 100)
		n, readErr := s.files[args[0]].Read(b)
		if readErr == nil {
			return toJSON(string(b[:n])), true
		}
		err = readErr
	case "shut":
		err = s.files[args[0]].Close()
	case "pending":
		return toJSON(s.talker(args[0]).unread()), true
	case "state":
		err = s.passState(args[0], args[1])
	case "damage":
		s.damage = args[0]
	case "inherit":
		_, err = s.m.InheritedFile(args[0])
	case "inherit-state":
		_, err = s.m.InheritedState(args[0])
	default:
		return "", false
	}
	if err != nil {
		return err.Error(), true
	}
	return "ok", true
}

func (s *passServer) openFile(name, path, content string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, s.addFile(name, f))
}

func (s *passServer) addFile(name string, f *os.File) error {
	if err := s.m.PassFile(name, f); err != nil {
		return errors.Join(err, f.Close())
	}
	s.files[name] = f
	return nil
}

func (s *passServer) openPipe(in, out string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	return errors.Join(s.addFile(out, r), s.addFile(in, w))
}

func (s *passServer) openEventfd(name string, count int) error {
	fd, err := unix.Eventfd(uint(count), unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	return s.addFile(name, os.NewFile(uintptr(fd), "eventfd"))
}

func (s *passServer) connect(name, network, addr string) error {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	return s.addTalker(name, conn, nil)
}

func (s *passServer) addTalker(name string, conn net.Conn, pending []byte) error {
	k := &talker{conn: conn, pending: pending, signature: fmt.Sprintf(" %d %d", s.m.generation, os.Getpid())}
	s.talk(func() { s.talkers[name] = k })
	return errors.Join(
		s.m.PassFile(name, conn.(syscall.Conn)),
		s.m.PassState(name, func(context.Context) ([]byte, error) { return []byte(k.unread()), nil }),
	)
}

// passState has a state of a size encoded, or one that goes wrong in some way.
func (s *passServer) passState(name, kind string) error {
	_, known := s.states[name]
	s.states[name] = kind
	if known {
		return nil
	}
	return s.m.PassState(name, func(ctx context.Context) ([]byte, error) { return s.encode(ctx, name) })
}

func (s *passServer) encode(ctx context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	kind := s.states[name]
	s.mu.Unlock()
	switch kind {
	case "error":
		return nil, errors.New("the sessions are locked")
	case "panic":
		panic("as told")
	case "hang":
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return pattern(atoi(kind)), nil
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// pattern is a state of the size.
func pattern(size int) []byte {
	b := bytes.Repeat([]byte("0123456789 is a pattern. "), size/25+1)
	return b[:size]
}

// sumOf tells a state from all others.
func sumOf(b []byte) string { return fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b)) }

// talk changes something, and has the talkers talk when they may.
func (s *passServer) talk(change func()) {
	s.talking.Lock()
	defer s.talking.Unlock()
	change()
	for _, k := range s.talkers {
		if s.ready && !s.upgrading {
			k.resume()
		} else {
			k.pause()
		}
	}
}

func (s *passServer) talker(name string) *talker {
	s.talking.Lock()
	defer s.talking.Unlock()
	return s.talkers[name]
}

func (s *passServer) pauseTalkers(context.Context) error {
	s.talk(func() { s.upgrading = true })
	return nil
}

func (s *passServer) resumeTalkers(context.Context, error) error {
	s.talk(func() { s.upgrading = false })
	return nil
}

func (s *passServer) closeTalkers(context.Context) error {
	s.talk(func() { s.ready = false })
	for _, k := range s.talkers {
		_ = k.conn.Close()
	}
	return nil
}

// talker answers the lines of one connection, from process to process.
type talker struct {
	conn      net.Conn
	signature string        // of its answers
	done      chan struct{} // closed when nobody reads any longer; nil while it is paused

	mu      sync.Mutex
	pending []byte // of a line that is not complete
}

func (k *talker) resume() {
	if k.done == nil {
		_ = k.conn.SetReadDeadline(time.Time{})
		k.done = make(chan struct{})
		go k.run(k.done) // ends with pause or the connection
	}
}

func (k *talker) pause() {
	if k.done != nil {
		_ = k.conn.SetReadDeadline(time.Unix(1, 0))
		<-k.done
		k.done = nil
	}
}

func (k *talker) unread() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return string(k.pending)
}

func (k *talker) run(done chan struct{}) {
	defer close(done)
	chunk := make([]byte, 100)
	for {
		n, err := k.conn.Read(chunk)
		k.mu.Lock()
		k.pending = append(k.pending, chunk[:n]...)
		lines := bytes.SplitAfter(k.pending, []byte("\n"))
		k.pending = lines[len(lines)-1]
		k.mu.Unlock()
		for _, line := range lines[:len(lines)-1] {
			_, _ = fmt.Fprintln(k.conn, strings.TrimSuffix(string(line), "\n")+k.signature)
		}
		if err != nil {
			return
		}
	}
}

// launch starts a successor, with a file of states that has suffered.
func (s *passServer) launch(ctx context.Context, l wiring.Launch) (wiring.Child, wiring.Link, error) {
	s.mu.Lock()
	kind := s.damage
	s.mu.Unlock()
	for i, x := range l.Extras {
		if x.About.Use != handoff.UseState || kind == "" || kind == "none" {
			continue
		}
		f, err := damaged(kind, x.Conn.(*os.File))
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		l.Extras[i].FD = f.Fd()
	}
	return wiring.Processes().Launch(ctx, l)
}

// damaged returns a file like the other, but for one thing.
func damaged(kind string, f *os.File) (*os.File, error) {
	whole, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		return nil, err
	}
	switch kind {
	case "checksum":
		whole[len(whole)-1] ^= 1
	case "truncated":
		whole = whole[:len(whole)-1]
	case "oversized":
		binary.BigEndian.PutUint64(whole[14:], 1<<64-1)
	case "magic":
		whole[0] = 'G'
	case "name":
		whole[26] = '\x1b'
	case "unsealed":
		fd, err := unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
		if err != nil {
			return nil, err
		}
		unsealed := os.NewFile(uintptr(fd), "unsealed")
		_, err = unsealed.Write(whole)
		return unsealed, err
	case "pipe":
		r, w, err := os.Pipe()
		return r, errors.Join(err, w.Close())
	default:
		return nil, fmt.Errorf("no such damage: %q", kind)
	}
	bad, err := os.CreateTemp("", "grace-damaged-*")
	if err != nil {
		return nil, err
	}
	_, err = bad.Write(whole)
	return bad, errors.Join(err, os.Remove(bad.Name()))
}
