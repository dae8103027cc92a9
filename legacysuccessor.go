package grace

import (
	"context"
	"errors"
	"time"

	"github.com/go-grace/grace/internal/wait"
)

// signalDelay is how long a signal may take to reach this package when another receiver in the
// process already has it.
const signalDelay = 2 * time.Second

// outlastSignal returns a context that ends as ctx does, and the function that ends it earlier. A
// program may have derived ctx from [os/signal.NotifyContext]: then the SIGTERM by which a
// successor of facebookgo/grace says that it serves cancels ctx, which is not a reason to end that
// successor. So where it may have been this signal, a cancellation waits until isReadySignal has
// seen the signal too.
func (u *upgrade) outlastSignal(
	ctx context.Context,
) (held context.Context, end context.CancelCauseFunc) {
	return wait.Hold(ctx, func(held context.Context) {
		cancelled := errors.Is(ctx.Err(), context.Canceled) // it is not the deadline
		if cancelled && u.legacy.MaySignal(held, u.m.sockets.Sockets) {
			wait.Closed(context.Background(), held.Done(), signalDelay)
		}
	})
}
