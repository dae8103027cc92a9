package gracehttp

import (
	"errors"
	"net/http"
	"os"
	"time"
)

// lingerTime is how long a client may be silent after its last response before the connection is
// closed altogether.
const lingerTime = time.Second

// stayOpen keeps the socket open when http.Server closes the connection after its last response.
// If anything were unread then, such as a further request, the system would reset the connection,
// and the client lose what it has not read of the response (RFC 9112, section 9.6). Instead, linger
// follows. It cannot if the socket cannot be reached.
func (c *conn) stayOpen() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == http.StateHijacked || c.last != nil {
		return
	}
	if raw := socketOf(c.Conn); raw != nil {
		c.last = duplicate(raw)
	}
}

// takeLast returns the descriptor of stayOpen, or nil if there is none.
func (c *conn) takeLast() *os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.last
	c.last = nil
	return last
}

// linger closes the direction to the client, and reads on until the client has closed the other
// one, or the file is closed. A client that does not do so has a second from its last sign of life.
// It has longer while the system has not delivered the whole response, up to the grace period, and
// beyond that only if it still sends something.
func linger(socket *os.File, grace time.Duration) {
	closeWrite(socket)
	b := make([]byte, 4<<10)
	for end := time.Now().Add(grace); ; {
		if err := socket.SetReadDeadline(time.Now().Add(lingerTime)); err != nil {
			return
		}
		_, err := socket.Read(b)
		silent := errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !silent {
			return
		}
		delivered, late := unsent(socket) == 0, time.Now().After(end)
		if silent && delivered || silent && late || delivered && late {
			return
		}
	}
}
