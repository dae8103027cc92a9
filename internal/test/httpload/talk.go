package httpload

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// A talk is what follows a request to change the protocol: the server repeats lines until one says
// goodbye, and closes the connection. When it drains, it says goodbye too, and repeats what the
// client still has to say.
const (
	talkProtocol = "httpload"
	goodbye      = "goodbye\n"
)

// startTalk answers the request and hijacks its connection. The talk goes on after it returns.
func (h *Handler) startTalk(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	go func() { // ends with the talk, whose client says goodbye or is gone
		defer conn.Close() //nolint:errcheck // all that the client waits for was written
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\n%s%s: %s\r\n\r\n",
			upgradeTalk, idHeader, r.Header.Get(idHeader))
		if h.OnDrain != nil {
			stop := h.OnDrain(r.Context(), func() { _, _ = io.WriteString(conn, goodbye) })
			defer stop()
		}
		for line := ""; line != goodbye && err == nil; {
			if line, err = buffered.ReadString('\n'); err == nil {
				_, err = io.WriteString(conn, line)
			}
		}
	}()
}

// talk talks for twice as long as a stream lasts. A server that leaves earlier has failed.
func (c *rawClient) talk(r request, resp *http.Response) error {
	if id := resp.Header.Get(idHeader); resp.StatusCode != 101 || id != r.id {
		return fmt.Errorf("status %s for the id %q, and not another protocol", resp.Status, id)
	}
	told := false // that the server drains
	for n := range ticks(2)(c.config) {
		if err := c.say(fmt.Sprintln(r.id, n), &told); err != nil {
			return err
		}
		time.Sleep(streamTick)
	}
	if err := c.say(goodbye, &told); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c.in) // maybe another goodbye: both have said it at once
	return err
}

// say writes a line, and returns when the server has repeated it. It notes a goodbye in between.
func (c *rawClient) say(line string, told *bool) error {
	if _, err := io.WriteString(c.conn, line); err != nil {
		return err
	}
	for {
		got, err := c.in.ReadString('\n')
		switch {
		case err != nil:
			return broken(err)
		case got == line:
			return nil
		case got != goodbye || *told:
			return fmt.Errorf("the server repeats %q, and not %q", got, line)
		}
		*told = true
	}
}
