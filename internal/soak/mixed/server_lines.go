package mixed

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// A request that ends in slowMark takes a while, so that drains find some in progress.
const (
	slowMark   = " slow"
	slowAnswer = 20 * time.Millisecond
)

// censusRequest asks for a census of the process.
const censusRequest = "census"

// answer is the answer to a request, as a line or a datagram of JSON.
type answer struct {
	Text       string          `json:"text"`           // of the request
	Generation int             `json:"generation"`     // of the process that answers
	Last       bool            `json:"last,omitempty"` // on this connection
	Census     *lineage.Census `json:"census,omitempty"`
}

// lineServer answers each line, over a connection that the client may keep. While it drains, each
// answer is marked as the last on its connection, and the client moves to the successor.
type lineServer struct {
	connServer
	generation int
	draining   atomic.Bool
}

func newLineServer(ln net.Listener, generation int) *lineServer {
	s := &lineServer{generation: generation}
	s.connServer = connServer{listener: ln, handle: s.converse}
	return s
}

func (s *lineServer) drain(ctx context.Context) error {
	s.draining.Store(true)
	return s.connServer.drain(ctx)
}

// converse answers until the client hangs up, even after the last answer: by hanging up first, the
// server could cut that off.
func (s *lineServer) converse(c net.Conn) {
	out := json.NewEncoder(c)
	for in := bufio.NewScanner(c); in.Scan(); {
		a := answer{Text: in.Text(), Generation: s.generation}
		switch {
		case a.Text == censusRequest:
			a.Census = lineage.TakeCensus()
		case strings.HasSuffix(a.Text, slowMark):
			time.Sleep(slowAnswer)
		}
		a.Last = s.draining.Load()
		if err := out.Encode(a); err != nil {
			return // the client is gone
		}
	}
}
