package main

import (
	"fmt"
	"sync"

	"github.com/gobwas/ws"
)

// maxBehind is how many messages a client may be behind. They need up to 17 MiB, regardless of the
// number of clients.
const maxBehind = 4096

// room keeps the latest messages. Clients read them at their own pace, so they have no queues.
type room struct {
	opened chan struct{} // closed when last is known

	mu     sync.Mutex
	last   uint64        // number of the last message
	frames [][]byte      // the latest messages, at most maxBehind
	more   chan struct{} // closed when there is another one; nil once the room is closed
}

func newRoom() *room {
	return &room{opened: make(chan struct{}), more: make(chan struct{})}
}

// open lets clients enter. The number of the first message is last+1.
func (r *room) open(last uint64) {
	r.last = last // nobody has entered
	close(r.opened)
}

// enter waits until the room is open, and returns the number of the last message.
func (r *room) enter() uint64 {
	<-r.opened
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// say sends a message to all clients. It returns false if the room is closed: the message belongs
// in the next one.
func (r *room) say(nick string, text []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.more == nil {
		return false
	}
	r.last++
	message := fmt.Appendf(nil, "%d %s: %s", r.last, nick, text)
	r.frames = append(r.frames, ws.MustCompileFrame(ws.NewTextFrame(message)))
	if len(r.frames) > maxBehind {
		r.frames = r.frames[1:]
	}
	close(r.more)
	r.more = make(chan struct{})
	return true
}

// after returns the messages after number n, and a channel that is closed when there are more. The
// channel is nil once the room is closed.
func (r *room) after(n uint64) (frames [][]byte, more <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	missed := r.last - n
	if missed > uint64(len(r.frames)) {
		return nil, nil, closing(ws.StatusPolicyViolation)
	}
	return r.frames[len(r.frames)-int(missed):], r.more, nil
}

// close ends the conversation, and returns the number of the last message.
func (r *room) close() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.more)
	r.more = nil
	return r.last
}
