package gracegrpc

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

func TestDrainOfAnIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := newClient(t, r.Listener)
		defer c.Close()
		if err := <-c.call(0); err != nil {
			t.Error(err)
		}
		d := <-r.drain()
		if d.took != settleTime+goAwayTime || d.Duration != settleTime || d.Cut || d.err != nil {
			t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
		}
	})
}

// stuckListener is a listener whose Close hangs until the test lets it return.
type stuckListener struct {
	*pipenet.Listener
	over chan struct{}
}

func (l stuckListener) Close() error {
	<-l.over
	return l.Listener.Close()
}

// If the Close of a listener hangs, the handlers learn of the drain at its deadline.
func TestListenerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managertest.New(t)
		ln := stuckListener{Listener: pipenet.Listen(), over: make(chan struct{})}
		if err := Start(m, newTestServer(m), ln); err != nil {
			t.Fatal(err)
		}
		began, result := time.Now(), make(chan error, 1)
		go func() { result <- m.Shutdown(context.Background()) }() // ends with the drain
		<-Draining(m)
		if took := time.Since(began); took != grace.DefaultDrainTimeout {
			t.Errorf("the handlers learn of the drain after %v", took)
		}
		close(ln.over)
		if err := <-result; err != nil {
			t.Error(err)
		}
		if n := groups.Len(); n > 0 {
			t.Errorf("%d Managers are not forgotten", n)
		}
	})
}

// An RPC that began before the drain is finished. One that comes while the client does not know of
// the drain yet is answered.
func TestRPCsOverTheBeginOfTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := newClient(t, r.Listener)
		defer c.Close()
		early := c.call(20)
		synctest.Wait()
		result := r.drain()
		time.Sleep(settleTime / 2)
		late := c.call(5)
		for _, rpc := range []<-chan error{late, early} {
			if err := <-rpc; err != nil {
				t.Error(err)
			}
		}
		(<-result).check(t, 20*time.Second, false)
	})
}

// lateListener holds the goroutines in which grpc-go begins to serve a connection: they ask for its
// address first.
type lateListener struct {
	*pipenet.Listener
	held atomic.Pointer[chan struct{}]
}

func (l *lateListener) Addr() net.Addr {
	if held := l.held.Load(); held != nil {
		<-*held
	}
	return l.Listener.Addr()
}

// A connection that was accepted just before the drain is served. GracefulStop alone closes it.
func TestConnectionFromTheLastMoment(t *testing.T) {
	for _, alone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, held := managertest.New(t), make(chan struct{})
			ln := &lateListener{Listener: pipenet.Listen()}
			srv := newTestServer(m)
			if alone {
				m.Append(grace.Hook{OnDrain: func(context.Context) error {
					srv.GracefulStop()
					return nil
				}})
				go srv.Serve(ln) //nolint:errcheck // until the drain
			} else if err := Start(m, srv, ln); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			ln.held.Store(&held)
			c := newClient(t, ln.Listener)
			defer c.Close()
			rpc := c.call(0)
			synctest.Wait()
			time.AfterFunc(settleTime/2, func() { close(held) })
			if err := m.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if err := <-rpc; (err == nil) == alone {
				t.Errorf("GracefulStop alone: %v; the RPC: %v", alone, err)
			}
		})
	}
}

// A stream that learns of the drain ends when its client knows that its next RPC needs another
// connection.
func TestDrainingTellsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := newClient(t, r.Listener)
		defer c.Close()
		stream := c.follow(c.polite)
		synctest.Wait()
		result := r.drain()
		if err := <-stream; err != io.EOF {
			t.Errorf("the stream has ended with %v", err)
		}
		err := <-c.follow(c.polite)
		if !strings.Contains(status.Convert(err).Message(), net.ErrClosed.Error()) {
			t.Errorf("the next stream does not look for another process: %v", err)
		}
		(<-result).check(t, settleTime+goAwayTime, false)
	})
}

// Draining is closed at once if there is no server, and in a process that has drained.
func TestDrainingWithoutServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := managertest.New(t)
		draining := Draining(m)
		synctest.Wait()
		select {
		case <-draining:
			t.Error("it is closed before the drain")
		default:
		}
		began := time.Now()
		if err := m.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-draining
		<-Draining(m)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// An RPC that is not finished by the deadline is cut, even if its handler does not notice, and if
// the server would wait for that. It is no error.
func TestDrainDeadline(t *testing.T) {
	for method, took := range map[string]time.Duration{
		"stubborn": grace.DefaultDrainTimeout,
		"deaf":     grace.DefaultDrainTimeout + stopTime,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, grpc.WaitForHandlers(true))
			c := newClient(t, r.Listener)
			defer c.Close()
			stream := c.follow(map[string]opener{"stubborn": c.stubborn, "deaf": c.deaf}[method])
			synctest.Wait()
			(<-r.drain()).check(t, took, true)
			if err := <-stream; status.Code(err) != codes.Unavailable {
				t.Errorf("the client got %v", err)
			}
			time.Sleep(time.Hour)
		})
	}
}

// A client that does not take the GOAWAY does not hold the drain up until the deadline.
func TestClientThatDoesNotReact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c, err := r.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go io.Copy(io.Discard, c) //nolint:errcheck // ends with the connection
		const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+settings); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		(<-r.drain()).check(t, settleTime+6*time.Second, false)
	})
}

// A client that connects and says nothing holds the drain up for as long as the owner of the server
// has allowed, or until the deadline.
func TestSilentClient(t *testing.T) {
	for timeout, c := range map[time.Duration]struct {
		took time.Duration
		cut  bool
	}{
		10 * time.Second:  {took: 10 * time.Second},
		120 * time.Second: {took: grace.DefaultDrainTimeout + stopTime, cut: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, grpc.ConnectionTimeout(timeout))
			silent, err := r.Dial()
			if err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, silent) //nolint:errcheck // ends with the connection
			synctest.Wait()
			(<-r.drain()).check(t, c.took, c.cut)
			silent.Close()
		})
	}
}

// All servers of a Manager, with all their listeners, stop accepting at once and drain side by
// side, whatever the hooks of others do.
func TestServersDrainSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := newRig(t), grpc.NewServer()
		pb.RegisterTestServiceServer(srv, &site{draining: Draining(r.Manager)})
		listeners := []*pipenet.Listener{r.Listener, pipenet.Listen(), pipenet.Listen()}
		for _, ln := range listeners[1:] {
			if err := Start(r.Manager, srv, ln); err != nil {
				t.Fatal(err)
			}
		}
		const others = grace.DefaultDrainTimeout + time.Second/2
		r.Append(grace.Hook{Name: "others", OnDrain: func(context.Context) error {
			time.Sleep(others)
			return nil
		}})
		var rpcs []<-chan error
		for _, ln := range listeners {
			c := newClient(t, ln)
			defer c.Close()
			rpcs = append(rpcs, c.call(20))
		}
		synctest.Wait()
		result := r.drain()
		synctest.Wait()
		for i, ln := range listeners {
			if _, err := ln.Dial(); err == nil {
				t.Errorf("listener %d accepts in the drain", i)
			}
		}
		for _, rpc := range rpcs {
			if err := <-rpc; err != nil {
				t.Error(err)
			}
		}
		if d := <-result; d.err != nil || d.took != others {
			t.Errorf("the drain took %v: %v", d.took, d.err)
		}
		if len(r.reports) != 2 || len(r.reports[0].Addrs)+len(r.reports[1].Addrs) != 3 {
			t.Errorf("the reports are %+v", r.reports)
		}
		for _, report := range r.reports {
			if report.Duration != 20*time.Second || report.Cut {
				t.Errorf("the report is %+v", report)
			}
		}
	})
}

// Before a stop without a successor the server keeps serving for a while, new connections too.
func TestStopDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 7 * time.Second
		r := newRigWith(t, []grace.Option{grace.WithStopDelay(delay)})
		draining := Draining(r.Manager)
		result := r.drain()
		time.Sleep(delay - time.Millisecond)
		c := newClient(t, r.Listener)
		defer c.Close()
		if err := <-c.call(0); err != nil {
			t.Errorf("during the delay: %v", err)
		}
		select {
		case <-draining:
			t.Error("the handlers are told during the delay")
		default:
		}
		time.Sleep(2 * time.Millisecond)
		if _, err := r.Dial(); err == nil {
			t.Error("the server accepts after the delay")
		}
		<-draining
		d := <-result
		if d.err != nil || d.Cut || d.took != delay+settleTime+goAwayTime {
			t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
		}
	})
}
