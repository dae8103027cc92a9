package mixed

import (
	"encoding/json"
	"net"
	"time"
)

// tickInterval is the time between two ticks of a stream.
const tickInterval = 50 * time.Millisecond

// streamRequest asks for a stream of numbered ticks.
type streamRequest struct {
	ID    string `json:"id"`
	Ticks int    `json:"ticks"`
}

// tick is one message of a stream. The numbers begin at 1. The server hangs up after the last one.
type tick struct {
	ID         string `json:"id"`
	Number     int    `json:"number"`
	Generation int    `json:"generation"`
}

// streamServer sends streams. While it drains, those that have begun continue to their end.
type streamServer struct {
	connServer
	generation int
}

func newStreamServer(ln net.Listener, generation int) *streamServer {
	s := &streamServer{generation: generation}
	s.connServer = connServer{listener: ln, handle: s.stream}
	return s
}

func (s *streamServer) stream(c net.Conn) {
	var r streamRequest
	if err := json.NewDecoder(c).Decode(&r); err != nil {
		return // the client is gone
	}
	clock := time.NewTicker(tickInterval)
	defer clock.Stop()
	out := json.NewEncoder(c)
	for n := 1; n <= r.Ticks; n++ {
		if err := out.Encode(tick{ID: r.ID, Number: n, Generation: s.generation}); err != nil {
			return
		}
		<-clock.C
	}
}
