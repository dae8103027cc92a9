package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// child is the new process, as the old one sees it.
type child struct {
	wiring.Child
	link      wiring.Link
	sender    *transfer.Sender // of connections, while this process drains
	committed bool             // Commit was sent
	refused   bool             // it has said Failed
}

// start starts the new process, and tells it what it has.
func (u *upgrade) start(ctx context.Context) error {
	if err := u.program.checkPath(); err != nil {
		return err
	}
	env, err := u.program.environment(ctx) // not while the sockets are lent: it is the user's code
	if err != nil {
		return err
	}
	u.legacy.Await()
	sockets, err := u.launch(ctx, env)
	if err != nil {
		u.legacy.Launched(0, 0, nil)
		return err
	}
	u.legacy.Launched(u.pid(), sockets, u.child.link)
	u.successor.Store(&Process{PID: u.pid(), Generation: u.m.generation + 1})
	u.m.emit(ctx, graceevent.SuccessorStarted{
		PID: u.pid(), Executable: u.program.path, Sockets: sockets,
	})
	go u.hearOut() // ends with the upgrade
	if err := u.program.opened.Unchanged(); err != nil {
		return err
	}
	err = u.child.link.Flush(ctx)
	if err != nil && ctx.Err() == nil {
		return errors.Join(u.awaitReady(ctx), err) // it may have said why it has gone
	}
	return err
}

// launch lends everything to a new process, and returns how many sockets it has.
func (u *upgrade) launch(ctx context.Context, env []string) (sockets int, err error) {
	dir, err := u.program.startDir()
	if err != nil {
		return 0, err
	}
	loan, err := u.m.sockets.Lend()
	if err != nil {
		return 0, err
	}
	defer loan.Release()
	sender, transfers, err := transfer.NewSender(u.m.opts.wires.Pair)
	if err != nil {
		return 0, err
	}
	extras := u.extras(transfers)
	defer extras.release()
	hello := u.hello(ctx, loan.Records, extras.described())
	hello.Environ = u.program.firstEnv(env)
	u.started = time.Now()
	started, link, err := u.m.opts.wires.Launch(ctx, wiring.Launch{
		Path: u.program.path, Args: u.program.args, Dir: dir, Env: env,
		Executable: u.program.opened, Sockets: loan.FDs, Records: loan.Records, Extras: extras.all,
		Greet: func(l wiring.Link) error { return l.Queue(hello) },
	})
	if err != nil {
		sender.Close()
		return 0, err
	}
	u.child = &child{Child: started, link: link, sender: sender}
	return len(loan.FDs), nil
}

// hello describes to the successor who it is and what it has.
func (u *upgrade) hello(
	ctx context.Context, sockets []fds.Record, extras []handoff.ExtraFile,
) *handoff.Hello {
	h := &handoff.Hello{
		Version: handoff.Version, PID: os.Getpid(), Generation: u.m.generation + 1, Handoff: u.id,
		Drain: u.m.opts.drainTimeout, Sockets: sockets, Extras: extras,
	}
	if deadline, ok := ctx.Deadline(); ok {
		h.Timeout = max(0, time.Until(deadline))
	}
	return h
}

// hearOut lets a receiver come to an end once the successor has ended: something that the successor
// started may still hold the other end of the link. After the commit that may be a later
// generation, which has something to say.
func (u *upgrade) hearOut() {
	select {
	case <-u.child.Exited():
		u.child.link.StopWaiting()
	case <-u.decided:
	}
}

// farewell says that this process is about to exit.
func (c *child) farewell(end graceevent.DrainFinished) {
	msg := &handoff.Drained{Duration: end.Duration}
	for _, cut := range end.Cut {
		msg.Cut = append(msg.Cut, handoff.Cut(cut))
	}
	if end.Err != nil {
		msg.Error = handoff.Reason(end.Err)
	}
	wiring.Say(c.link, msg)
	_ = c.link.Close()
}

// discard ends a successor that is not wanted. One that has accepted connections is given some time
// to finish them. The error says that it could not be ended.
func (c *child) discard(ctx context.Context, reason error, patience time.Duration) error {
	knows := wiring.Say(c.link, &handoff.Abort{Reason: handoff.Reason(reason)}) || c.refused
	switch {
	case knows || patience == 0:
	case c.committed:
		// It may believe that it serves alone: left to itself it would end the service, and remove
		// the paths of its sockets.
		patience = 0
	default:
		_ = c.Terminate()
	}
	if patience > 0 && wait.Closed(ctx, c.Exited(), patience) {
		return c.link.Close()
	}
	err := c.Kill()
	if wait.Closed(context.Background(), c.Exited(), generation.KillTimeout) {
		return c.link.Close()
	}
	// It was told to give up: that has to do where it cannot be killed, having changed its user.
	return errors.Join(fmt.Errorf("the successor %d has not ended %v after it was killed",
		c.PID(), generation.KillTimeout), err, c.link.Close())
}

// exitState says how the successor has ended, without waiting.
func (c *child) exitState() string {
	if wait.IsClosed(c.Exited()) {
		return c.State()
	}
	return "running"
}
