package httpload

import "slices"

// Tally is what clients have seen.
type Tally struct {
	Requests   int // that were answered, or have failed
	Handled    int // of them, those that the Handler has to count
	Failed     int
	Resent     int // on another connection: the server has said that it has not processed them
	Dials      int // connections that were opened
	Reconnects Reconnects
	Latencies  Latencies
	Failures   []error // some of those that have failed
}

// Reconnects count connections that were opened in place of one which its client would have used
// again, apart from those of clients that close it or ask the server to, by what is spoken on them.
type Reconnects struct {
	HTTP1 int // in plaintext
	TLS   int // HTTP/1 with it
	HTTP2 int // with and without TLS
}

// fewFailures is how many are remembered of each kind.
const fewFailures = 5

func (t *Tally) join(other *Tally) {
	t.Requests += other.Requests
	t.Handled += other.Handled
	t.Failed += other.Failed
	t.Resent += other.Resent
	t.Dials += other.Dials
	t.Reconnects.HTTP1 += other.Reconnects.HTTP1
	t.Reconnects.TLS += other.Reconnects.TLS
	t.Reconnects.HTTP2 += other.Reconnects.HTTP2
	t.Latencies.join(&other.Latencies)
	room := max(fewFailures-len(t.Failures), 0)
	t.Failures = slices.Concat(t.Failures, other.Failures[:min(len(other.Failures), room)])
}
