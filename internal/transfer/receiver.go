package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
)

// goneTimeout bounds the time from the end of a link to the end of the process behind it.
const goneTimeout = 10 * time.Second

// Receiver takes the connections that one older generation offers.
type Receiver struct {
	generation int
	link       *handoff.Link
	gone       <-chan struct{}
	handlers   *Handlers

	ended   atomic.Bool // nothing more is offered
	sending sync.Mutex  // held by whoever sends over the link
	unsure  []*call     // those for which the answer could not be sent; Run alone uses it
	silent  bool        // no answer can be sent any more: Run alone uses it too
}

// NewReceiver makes a Receiver for an older generation. It takes the link. The caller closes gone
// when the process of that generation is gone.
func NewReceiver(
	generation int, l *handoff.Link, gone <-chan struct{}, handlers *Handlers,
) *Receiver {
	return &Receiver{generation: generation, link: l, gone: gone, handlers: handlers}
}

// Run takes connections until the link or ctx ends, and closes the link. The calls of handlers may
// take longer.
func (r *Receiver) Run(ctx context.Context) {
	defer r.Close()
	r.settle(ctx, r.takeOffers(ctx))
}

// Ended reports whether the older generation offers nothing more.
func (r *Receiver) Ended() bool { return r.ended.Load() }

// Close closes the link. What is still offered stays with the older generation.
func (r *Receiver) Close() {
	r.ended.Store(true)
	_ = r.link.Close()
}

var (
	errRevoked = errors.New("the old process keeps the connections that were not answered")
	errCeded   = errors.New("the old process gives up the connections that were not answered")
)

// takeOffers answers offers. It returns why there are no more: io.EOF if the link has ended, and
// nothing was revoked.
func (r *Receiver) takeOffers(ctx context.Context) error {
	for {
		msg, files, err := r.link.ReceiveWith(ctx)
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *handoff.Offers:
			r.consider(ctx, msg, files)
		case *handoff.Revoked:
			return errRevoked
		case *handoff.Ceded:
			return errCeded
		default:
			_ = handoff.CloseAll(files)
			return fmt.Errorf("%w: the old process sent %s instead of Offers",
				handoff.ErrProtocol, handoff.Name(msg))
		}
	}
}

// consider answers offers. It must not touch a connection before the old process can know that it
// is taken. After an answer that could not be sent there are no others, because answers have to
// come in order.
func (r *Receiver) consider(ctx context.Context, msg *handoff.Offers, files []*os.File) {
	answers, taken := r.judge(msg.Offers, files)
	if !r.silent {
		err := r.send(ctx, &handoff.Answers{Answers: answers, Number: msg.Number})
		r.silent = err != nil
	}
	if r.silent {
		r.unsure = append(r.unsure, taken...)
		return
	}
	for _, c := range taken {
		go c.run() // ends with the handler
	}
}

// judge returns the answers to offers, and the calls for those that are taken.
func (r *Receiver) judge(
	offers []handoff.Offer, files []*os.File,
) (answers []handoff.Answer, taken []*call) {
	files = append(files, make([]*os.File, len(offers)-len(files))...) // those that were lost
	for i, offer := range offers {
		c, err := r.open(offer, files[i])
		if err != nil {
			answers = append(answers, handoff.Refusal(err))
			continue
		}
		answers = append(answers, handoff.Answer{Taken: true})
		taken = append(taken, c)
	}
	return answers, taken
}

var errLost = errors.New("the descriptor was lost: the new process may have too many open")

// open begins a call for the connection in the file. It takes the file, which is nil if it was lost
// on its way.
func (r *Receiver) open(offer handoff.Offer, file *os.File) (*call, error) {
	if file == nil {
		return nil, errLost
	}
	c, err := r.handlers.begin(offer.Name)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	c.state = []byte(offer.State)
	c.conn, err = fds.OpenConn(file)
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func (r *Receiver) send(ctx context.Context, answer handoff.Message) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	return r.link.Send(ctx, answer)
}

// redirect tells the older generation to offer its connections over another link. If that fails,
// the generation has ended.
func (r *Receiver) redirect(ctx context.Context, to *handoff.Link) {
	r.sending.Lock()
	defer r.sending.Unlock()
	_ = fds.Control(to, func(fd int) error {
		return r.link.SendWith(ctx, &handoff.Redirect{}, fd)
	})
}

// settle decides to whom the unsure connections belong, after the offers ended with an error. An
// old process that died before it could revoke them no longer uses them.
func (r *Receiver) settle(ctx context.Context, end error) {
	if len(r.unsure) == 0 {
		return
	}
	//nolint:errorlint // an end within a message matches io.EOF too, but is not a clean one
	ours := end == errCeded || end == io.EOF && wait.Closed(ctx, r.gone, goneTimeout)
	for _, c := range r.unsure {
		if ours {
			go c.run() // ends with the handler
		} else {
			c.cancel()
		}
	}
	r.unsure = nil
}
