//go:build linux

package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
)

// Without a reader there is room for all offers that can be on their way, and for the word that takes them back.
func TestOffersLeaveRoomForRevoked(t *testing.T) {
	_, server := connect(t)
	for _, size := range []int{0, 200, 700, 1700, bytesPerPlace - 1, bytesPerPlace, 3000, 6000, 14000, 30000, MaxTransferState} {
		h := newHandover(t)
		places := min(1+size/bytesPerPlace, maxUnanswered)
		for range maxUnanswered / places {
			msg := &handoff.Offer{Name: strings.Repeat("n", 255), State: strings.Repeat("s", size)}
			if _, err := h.old.send(t.Context(), msg, server.(*net.TCPConn), places); err != nil {
				t.Fatalf("states of %d bytes: %v", size, err)
			}
		}
		h.old.revoke()
		if err := h.new.takeAll(t.Context()); !errors.Is(err, errRevoked) {
			t.Errorf("states of %d bytes: %v", size, err)
		}
		h.new.link.Close()
	}
}

// Where the system gives less room than it has said, an offer that was sent in part is nobody's but the old process's.
func TestTransferWithoutRoom(t *testing.T) {
	t.Parallel()
	h := newHandover(t)
	setSendRoom(t, h.old.link)
	client, server := connect(t)
	for range 2 {
		if err := h.offer(server, "lines", strings.Repeat("half a line", 1000)); !errors.Is(err, ErrNoSuccessor) {
			t.Errorf("got %v", err)
		}
	}
	h.receive()
	h.keeps(client, server)
}

func setSendRoom(t *testing.T, l *handoff.Link) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 1) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// offered is a connection that was offered by a process whose link then ends, after some last bytes.
func offered(t *testing.T, h *handover, last string) (client, server net.Conn) {
	t.Helper()
	client, server = connect(t)
	if _, err := h.old.send(t.Context(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn), 1); err != nil {
		t.Fatal(err)
	}
	speak(t, h.old.link, last)
	if err := h.old.link.Close(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// speak sends what may be no message.
func speak(t *testing.T, l *handoff.Link, bytes string) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _, err = unix.Write(int(fd), []byte(bytes)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A connection that its client has reset on the way is nobody's but the old process's, which finds that out by itself.
func TestTransferOfAConnectionThatIsReset(t *testing.T) {
	h := newHandover(t)
	h.receive()
	client, server := connect(t)
	_, err := io.WriteString(client, "the last words")
	if err := errors.Join(err, client.(*net.TCPConn).SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "the connection is reset", func() bool { return addressOfPeer(t, server) == nil })
	if err := h.offer(server, "lines", ""); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "it has ended") {
		t.Errorf("got %v", err)
	}
	if got, err := io.ReadAll(server); string(got) != "the last words" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("then the old process reads %q, %v", got, err)
	}
	client, server = connect(t)
	if err := h.offer(server, "lines", ""); err != nil {
		t.Errorf("the next one: %v", err)
	}
	server.Close()
	says(t, client, "hello\n", "hello\n")
	if n := h.taken.Load(); n != 1 {
		t.Errorf("the new process has taken %d connections", n)
	}
}

// addressOfPeer asks the system, and not package net.
func addressOfPeer(t *testing.T, c net.Conn) (addr unix.Sockaddr) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { addr, _ = unix.Getpeername(int(fd)) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// An end that says nothing for sure is not taken for the death of the old process.
func TestTransferFromALinkThatEndsOtherwise(t *testing.T) {
	for name, last := range map[string]string{
		"in the middle of a message": "\x00\x00\x00\x05O",
		"with another message":       "\x00\x00\x00\x01R",
		"with what is no message":    "HTTP/1.1 400 Bad Request",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandover(t)
			client, server := offered(t, h, last)
			h.receive()
			h.keeps(client, server)
		})
	}
}

// A process that lives may go on with its connections, whatever has become of its link.
func TestTransferByAProcessThatLives(t *testing.T) {
	h := newHandover(t)
	h.new.from = newAncestor(Process{}, newFakeLink(), unwatched{}, time.Time{})
	client, server := offered(t, h, "")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // instead of deathTimeout
	defer cancel()
	h.handle()
	h.new.receive(ctx)
	h.keeps(client, server)
}

// A successor that says what it should not is not heard any more, and takes nothing any more.
func TestTransferToASuccessorThatSpeaksNonsense(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	answer, err := h.old.send(t.Context(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn), 1)
	if err != nil {
		t.Fatal(err)
	}
	speak(t, h.new.link, "HTTP/1.1 400 Bad Request")
	if err := <-answer; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	h.keeps(client, server)
}

// held is a function of HandleTransfers that has its connections until they are released.
type held struct{ began, release chan struct{} }

func hold() held { return held{make(chan struct{}, 1), make(chan struct{})} }

func (h held) take(c net.Conn, _ []byte) {
	select {
	case h.began <- struct{}{}:
	default: // it is known
	}
	<-h.release
	_, _ = io.WriteString(c, "done\n")
	_ = c.Close()
}

// When stop has returned, the function does not run, and is called no more.
func TestStopOfHandleTransfers(t *testing.T) {
	h := newHandover(t)
	m := newTestManager(t)
	h.new.takers = m.takers
	fn := hold()
	stop, err := m.HandleTransfers("held", fn.take)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.HandleTransfers("held", fn.take); err == nil {
		t.Error("a second function has the same name")
	}
	h.receive()
	client, server := connect(t)
	if err := h.offer(server, "held", ""); err != nil {
		t.Fatal(err)
	}
	server.Close()
	<-fn.began
	stopped := make(chan struct{})
	go func() { stop(); stop(); close(stopped) }() // ends with the call
	_, server = connect(t)
	for err == nil { // stop may not have begun yet
		err = h.offer(server, "held", "")
	}
	if !errors.Is(err, ErrRefused) || isClosed(stopped) {
		t.Errorf("got %v, and stop has returned: %v", err, isClosed(stopped))
	}
	close(fn.release)
	<-stopped
	says(t, client, "", "done\n")
	if _, err := m.HandleTransfers("held", fn.take); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// The drain waits for what was taken, and nothing is taken that it would not wait for.
func TestDrainWaitsForTakenConnections(t *testing.T) {
	h := newHandover(t)
	m := newTestManager(t)
	h.new.takers = m.takers
	fn := hold()
	if _, err := m.HandleTransfers("held", fn.take); err != nil {
		t.Fatal(err)
	}
	h.receive()
	client, server := connect(t)
	if err := h.offer(server, "held", ""); err != nil {
		t.Fatal(err)
	}
	server.Close()
	<-fn.began
	result := make(chan error, 1)
	go func() { result <- m.Shutdown(context.Background()) }() // ends with the call
	_, server = connect(t)
	var err error
	for err == nil {
		err = h.offer(server, "held", "")
	}
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "has drained") || isClosed(m.life.drained) {
		t.Errorf("got %v; it has drained: %v", err, isClosed(m.life.drained))
	}
	close(fn.release)
	if err := <-result; err != nil {
		t.Error(err)
	}
	says(t, client, "", "done\n")
}
