package mixed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/soak/lineage"
)

// The names of the service's sockets.
const (
	tcpLines  = "lines"
	unixLines = "lines-unix"
	tcpStream = "streams"
	udpEcho   = "echo"
)

const anyPort = "127.0.0.1:0"

// server is one protocol of the service.
type server interface {
	// start starts to serve. It calls fail if that ends before drain is called.
	start(fail func(error))
	// drain stops taking on work at once, and waits for the work in progress.
	drain(context.Context) error
}

// service is all servers.
type service struct {
	servers []server
}

// serveAs runs the service with the arguments of the driver: the directory of its unix socket, and
// its drain timeout.
func serveAs(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("the service takes a directory and a drain timeout, not %q", args)
	}
	drainTimeout, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	return serve(ctx, args[0], drainTimeout)
}

// serve runs the service in this process, until another one has taken over or the context ends. Its
// unix socket is in dir.
func serve(ctx context.Context, dir string, drainTimeout time.Duration) error {
	m, err := grace.New(
		grace.WithObserver(graceevent.ObserverFunc(lineage.Observe)),
		grace.WithDrainTimeout(drainTimeout), // longer than any stream
		grace.WithShutdownSignals(),          // none: the driver ends the context
		// The driver allows half as many, but a process sends its last report before it exits.
		grace.WithMaxDraining(2*lineage.MaxDraining),
	)
	if err != nil {
		return err
	}
	generation := m.Status().Generation
	s, err := newService(ctx, m, filepath.Join(dir, "soak.sock"))
	if err != nil {
		return errors.Join(err, m.Shutdown(ctx))
	}
	m.Append(lineage.ReportReady(generation))
	m.Append(grace.Hook{Name: "servers", OnDrain: s.drain})

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.start(cancel) // the servers wait until the handoff is committed
	// Run reports that we are ready, upgrades on SIGHUP, and returns after the drain.
	if err := m.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, lineage.ErrDriverEnded) {
		return err // of a server
	}
	lineage.Send(lineage.Report{What: lineage.Left, Generation: generation})
	return nil
}

// newService opens the sockets: the first process binds them, and its successors take them over.
func newService(ctx context.Context, m *grace.Manager, path string) (*service, error) {
	generation := m.Status().Generation
	lines, err := m.Listen(ctx, "tcp", anyPort, grace.WithName(tcpLines))
	if err != nil {
		return nil, err
	}
	local, err := m.Listen(ctx, "unix", path, grace.WithName(unixLines))
	if err != nil {
		return nil, err
	}
	streams, err := m.Listen(ctx, "tcp", anyPort, grace.WithName(tcpStream))
	if err != nil {
		return nil, err
	}
	packets, err := m.ListenPacket(ctx, "udp", anyPort, grace.WithName(udpEcho))
	if err != nil {
		return nil, err
	}
	return &service{servers: []server{
		newLineServer(lines, generation),
		newLineServer(local, generation),
		newStreamServer(streams, generation),
		&packetServer{conn: packets, generation: generation},
	}}, nil
}

// start starts all servers. If one fails, the process ends: the others must not serve alone.
func (s *service) start(fail func(error)) {
	for _, srv := range s.servers {
		srv.start(fail)
	}
}

// drain is the OnDrain hook. The servers drain side by side, because each must stop taking on work
// now. With a hook for each, one that waits for its streams would hold up those after it.
func (s *service) drain(ctx context.Context) error {
	errs := make([]error, len(s.servers))
	var all sync.WaitGroup
	for i, srv := range s.servers {
		all.Go(func() { errs[i] = srv.drain(ctx) }) // ends with ctx at the latest
	}
	all.Wait()
	return errors.Join(errs...)
}

// await waits until the work or the context ends.
func await(ctx context.Context, work *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { // ends with the work, or the process
		work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// connServer accepts connections, and handles each in a goroutine.
type connServer struct {
	listener net.Listener
	handle   func(net.Conn)
	work     sync.WaitGroup
}

func (s *connServer) start(fail func(error)) {
	s.work.Go(func() { // ends when the listener is closed
		for {
			c, err := s.listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					fail(err)
				}
				return
			}
			s.work.Go(func() { // ends with the connection
				defer c.Close() //nolint:errcheck // everything has been sent
				s.handle(c)
			})
		}
	})
}

// drain closes the listener: the successor gets the clients that connect from now on, and those
// that wait in the queue.
func (s *connServer) drain(ctx context.Context) error {
	return errors.Join(s.listener.Close(), await(ctx, &s.work))
}
