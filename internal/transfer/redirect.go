package transfer

import (
	"context"
	"os"

	"github.com/go-grace/grace/internal/handoff"
)

// Redirect is a new way for the connections of an older generation: past this process, to its
// successor.
type Redirect struct {
	Generation int      // of the process that offers the connections
	End        *os.File // the successor's end, for the caller to pass on and close

	receiver *Receiver
	link     *handoff.Link // the older generation's end
}

// Redirects are those of one upgrade.
type Redirects []*Redirect

// NewRedirects makes a redirect for each older generation that may still offer connections. If one
// cannot be made, for want of descriptors, that generation keeps the rest of its connections.
func NewRedirects(receivers []*Receiver, pair Pair) Redirects {
	var all Redirects
	for _, r := range receivers {
		if r.Ended() {
			continue
		}
		if l, end, err := pair.make(); err == nil && l != nil {
			all = append(all, &Redirect{Generation: r.generation, End: end, receiver: r, link: l})
		}
	}
	return all
}

// Send tells the older generations to offer their connections to the successor from now on, which
// serves. It closes the redirects.
func (rs Redirects) Send(ctx context.Context) {
	for _, r := range rs {
		r.receiver.redirect(ctx, r.link)
	}
	rs.Close()
}

// Close closes the older generations' ends.
func (rs Redirects) Close() {
	for _, r := range rs {
		_ = r.link.Close()
	}
}
