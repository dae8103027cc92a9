package generation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
)

// A hook that takes its time does not hold whoever else wants the generation to end, for longer than
// that one wants to wait.
func TestEvictWhileAHookThinks(t *testing.T) {
	l, err := handoff.Ended()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	synctest.Test(t, func(t *testing.T) {
		asked, answer := make(chan struct{}), make(chan error)
		errNo, errEnough := errors.New("no"), errors.New("enough")
		s := NewSet(t.Context(), Owner{MayKill: func(context.Context, graceevent.Process) error {
			close(asked)
			return <-answer
		}})
		o := New(graceevent.Process{PID: 12, Generation: 1}, l, living{})
		first := make(chan error, 1)
		go func() { first <- s.kill(t.Context(), o, errOverdue) }()
		<-asked
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errEnough) })
		began := time.Now()
		if err := s.kill(ctx, o, errOverdue); !errors.Is(err, errEnough) || time.Since(began) != time.Second {
			t.Errorf("the second is told %v after %v", err, time.Since(began))
		}
		answer <- errNo
		if err := <-first; !errors.Is(err, errNo) {
			t.Errorf("the first is told %v", err)
		}
	})
}

// living is a process that does not end.
type living struct{ Unwatched }

func (living) Gone() <-chan struct{} { return nil }
