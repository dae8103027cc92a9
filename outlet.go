package grace

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"github.com/go-grace/grace/internal/handoff"
)

// outlet is the way of connections out of an old process: to its successor, and to whoever serves when that has been replaced too. A
// nil one leads nowhere.
type outlet struct {
	hearing sync.WaitGroup // on all links

	mu  sync.Mutex
	all []*transfers // the last one is the present
}

// newOutlet makes the link to a successor, whose end is the file. Both are nil where there are no transfers.
func newOutlet(pair linkPair) (*outlet, *os.File, error) {
	l, theirs, err := pair.make()
	if l == nil {
		return nil, nil, err
	}
	return &outlet{all: []*transfers{newTransfers(l)}}, theirs, nil
}

// linkPair makes both ends of a link for transfers. A nil one makes none.
type linkPair func() (*handoff.Link, *os.File, error)

func (p linkPair) make() (*handoff.Link, *os.File, error) {
	if p == nil {
		return nil, nil, nil
	}
	return p()
}

// offer returns nil when a process has taken the connection. One that refuses it, or is gone, may have been replaced meanwhile: then
// it has redirected us before that.
func (o *outlet) offer(ctx context.Context, msg *handoff.Offer, c syscall.Conn) error {
	if o == nil {
		return ErrNoSuccessor
	}
	for {
		t := o.present()
		err := t.offer(ctx, msg, c)
		if errors.Is(err, ErrNoSuccessor) {
			t.hearOut(ctx)
		}
		if !errors.Is(err, ErrNoSuccessor) && !errors.Is(err, ErrRefused) || t == o.present() {
			return err
		}
	}
}

func (o *outlet) present() *transfers {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all[len(o.all)-1]
}

// hear hears the answers, until there will be none any more: when the processes have ended, or ctx has.
func (o *outlet) hear(ctx context.Context) {
	if o != nil {
		o.hearFrom(ctx, o.present())
		o.hearing.Wait()
	}
}

func (o *outlet) hearFrom(ctx context.Context, t *transfers) {
	o.hearing.Go(func() { // ends with the process on the other side, or with ctx
		t.hear(ctx, func(file *os.File) { o.redirect(ctx, file) })
	})
}

// redirect leads to another process. The file, which it takes, is our end of the link; nil if it was lost.
func (o *outlet) redirect(ctx context.Context, file *os.File) {
	if file == nil {
		return // what the successor does not take any more stays here
	}
	l, err := handoff.NewLink(file)
	if err != nil {
		return // likewise
	}
	t := newTransfers(l)
	o.mu.Lock()
	o.all = append(o.all, t)
	o.mu.Unlock()
	o.hearFrom(ctx, t)
}

// count tells how many connections were taken.
func (o *outlet) count() int {
	n := 0
	o.each(func(t *transfers) { n += t.count() })
	return n
}

// close ends all links.
func (o *outlet) close() { o.each((*transfers).close) }

func (o *outlet) each(f func(*transfers)) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.all {
		f(t)
	}
}
