package generation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wiring"
)

// Owner is what a Set needs of the process that it belongs to.
type Owner struct {
	// MayKill returns an error if a generation must not be signalled.
	MayKill func(context.Context, graceevent.Process) error
	// Exited is told how a generation has ended.
	Exited func(context.Context, *Older, graceevent.Exit)
	// GivenBack is told that the parent serves after all, and why.
	GivenBack func(ctx context.Context, reason string)
	// Emit is told of events.
	Emit func(context.Context, graceevent.Event)
}

// Set holds the older generations of a process.
type Set struct {
	owner Owner
	ctx   context.Context //nolint:containedctx // of Follow: it ends with the process's drain

	mu        sync.Mutex
	all       []*Older // the oldest first
	stop      context.CancelFunc
	following sync.WaitGroup
}

// NewSet returns an empty Set. Its generations are followed until ctx ends.
func NewSet(ctx context.Context, owner Owner) *Set { return &Set{ctx: ctx, owner: owner} }

// Add adds generations, which the Set owns from then on.
func (s *Set) Add(more ...*Older) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, more...)
}

// Living returns the generations that may still be there, the oldest first.
func (s *Set) Living() []*Older {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.all), func(o *Older) bool { return !o.Lives() })
}

// Names lists generations, for an error.
func Names(all []*Older) string {
	names := make([]string, len(all))
	for i, o := range all {
		names[i] = fmt.Sprintf("%d (process %d)", o.Generation, o.PID)
	}
	return "generations " + strings.Join(names, ", ")
}

// Follow follows all generations, until Pause is called or the Set's context ends.
func (s *Set) Follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ctx context.Context
	ctx, s.stop = context.WithCancel(s.ctx)
	for _, o := range s.all {
		s.following.Go(func() { s.follow(ctx, o) }) // ends with ctx or the generation
	}
}

// Pause ends Follow, and returns when nobody reads the links.
func (s *Set) Pause() {
	s.mu.Lock()
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	s.following.Wait()
}

// Close ends all connections to the generations.
func (s *Set) Close() {
	s.Pause()
	s.keep(func(*Older) bool { return false })
}

// KeepLiving drops the generations that are gone.
func (s *Set) KeepLiving() { s.keep((*Older).Lives) }

// keep drops the others.
func (s *Set) keep(which func(*Older) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(o *Older) bool {
		if which(o) {
			return false
		}
		o.Close()
		return true
	})
}

// forget drops a generation that is gone.
func (s *Set) forget(o *Older) {
	close(o.ended)
	s.keep(func(other *Older) bool { return other != o })
}

// Extras returns the links and descriptors of the generations that live, for a successor that is to
// follow them.
func (s *Set) Extras() []wiring.Extra {
	var all []wiring.Extra
	for _, o := range s.Living() {
		handle := o.handle()
		if o.Legacy && handle == nil {
			continue // the end of its link is not its own: nothing would tell whether it lives
		}
		all = append(all, wiring.Extra{Conn: o.Link, About: handoff.ExtraFile{
			Use: handoff.UseLink, PID: o.PID, Generation: o.Generation, Legacy: o.Legacy,
		}})
		if handle != nil {
			all = append(all, wiring.Extra{Conn: handle, About: handoff.ExtraFile{
				Use: handoff.UseProcess, PID: o.PID, Generation: o.Generation,
			}})
		}
	}
	return all
}

// Followed says how far the generations were followed, for a successor that is to go on. They are
// paused.
func (s *Set) Followed() []handoff.Followed {
	var all []handoff.Followed
	for _, o := range s.Living() {
		all = append(all, handoff.Followed{
			Generation: o.Generation, Left: max(0, time.Until(o.Due)), Heard: o.Link.Heard(),
		})
	}
	return all
}

// Resume goes on where the old process has stopped. Generations that it does not mention have
// ended.
func (s *Set) Resume(followed []handoff.Followed) {
	s.keep(func(o *Older) bool {
		same := func(f handoff.Followed) bool { return f.Generation == o.Generation }
		i := slices.IndexFunc(followed, same)
		if i >= 0 {
			o.Due = time.Now().Add(followed[i].Left)
			o.Link.Prepend(followed[i].Heard)
		}
		return i >= 0
	})
}
