package mixed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// streamClient asks for one stream after another. Each stream comes to its end from the generation
// that accepted its connection, even many upgrades later.
type streamClient struct {
	identity
	kind    *kind
	addr    string
	longest time.Duration
}

func (c *streamClient) request(n int) (int, error) {
	conn, err := c.kind.dial("tcp", c.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // it is read to its end
	most := int(c.longest / tickInterval)
	r := streamRequest{ID: c.id(n), Ticks: most/2 + c.random.IntN(most-most/2) + 1}
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return 0, err
	}
	return c.follow(conn, r)
}

func (c *streamClient) hangUp() {}

// follow reads a stream to its end. All ticks must come in order and from one generation, and
// nothing after them.
func (c *streamClient) follow(conn net.Conn, r streamRequest) (generation int, err error) {
	in := json.NewDecoder(conn)
	for n := 1; n <= r.Ticks; n++ {
		t, err := c.next(conn, in)
		if err != nil {
			return 0, fmt.Errorf("tick %d of %d: %w", n, r.Ticks, broken(err))
		}
		if n == 1 {
			generation = t.Generation
		}
		if want := (tick{ID: r.ID, Number: n, Generation: generation}); t != want {
			return 0, fmt.Errorf("expected %+v, got %+v", want, t)
		}
	}
	switch t, err := c.next(conn, in); {
	case err == nil:
		return 0, fmt.Errorf("expected the end of the stream after %d ticks, got %+v", r.Ticks, t)
	case !errors.Is(err, io.EOF):
		return 0, fmt.Errorf("end of the stream: %w", err)
	}
	return generation, nil
}

func (c *streamClient) next(conn net.Conn, in *json.Decoder) (t tick, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(c.kind.patience)); err != nil {
		return t, err
	}
	err = in.Decode(&t)
	return t, err
}
