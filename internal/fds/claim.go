package fds

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// claim marks the inherited descriptor that the Ask means and returns it, or nil if there is none.
// It looks up host and service names with mu released.
func (s *Set) claim(ctx context.Context, ask Ask, ordinal int) (*descriptor, error) {
	ask = s.withTraits(ctx, ask)
	var address *target
	if s.isAmbiguous(ask.Name) {
		if t, err := parse(ctx, ask); err == nil {
			address = &t
		}
	}
	d, unclaimed, err := s.claimWith(func(in *inheritance) (*descriptor, error) {
		return in.findByRequest(ask, ordinal, address)
	})
	if d != nil || err != nil || unclaimed == 0 {
		return d, err
	}
	t, err := parse(ctx, ask)
	if err != nil || !t.byAddress {
		return nil, err
	}
	d, _, err = s.claimWith(func(in *inheritance) (*descriptor, error) {
		return in.findByAddress(ask, t)
	})
	return d, err
}

// probeTimeout bounds the look at a new socket, for which package net may look a host name up.
const probeTimeout = time.Second

// withTraits adds to an Ask the traits that a new socket would have, if there are inherited ones to
// compare. A host name is only looked up for that if an inherited socket has traits of its own.
func (s *Set) withTraits(ctx context.Context, ask Ask) Ask {
	needed, differ, compare := s.needsTraits(ask.Name)
	switch {
	case !needed:
	case isUnix(ask):
		ask.traits = &Traits{} // one path is one socket
	case ask.Config.Control != nil && (differ || !hasHostName(ask.Address)):
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		if t, err := probe(ctx, ask); err != nil {
			ask.probeErr = err
		} else {
			ask.traits = &t
		}
	case ask.Config.Control != nil:
	case compare:
		ask.traits = &Traits{Namespace: threadNamespace()}
	default:
		ask.traits = &Traits{}
	}
	return ask
}

func hasHostName(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err != nil
}

// needsTraits reports whether there are sockets to compare, which a given one of its own name makes
// unnecessary, and whether any of them has other traits than the rest. namespaces is false if there
// are many, and all in one network namespace: it takes time to find out in which one an Ask is
// made.
func (s *Set) needsTraits(name string) (needed, differ, namespaces bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.inherited
	named := in.named[name]
	needed = in.unclaimed > 0 && (len(named) != 1 || !named[0].record.Given || named[0].claimed)
	differ = in.words != nil
	return needed, differ, differ || len(in.descriptors) < maxScan
}

// claimInTheWay marks the inherited descriptor of the same request that has other traits, and for
// which a new socket cannot be bound: the kernel does not let a socket on a device and another one
// share an address. It returns nil if there is none.
func (s *Set) claimInTheWay(ask Ask, ordinal int, err error) *descriptor {
	if !errors.Is(err, syscall.EADDRINUSE) || isUnix(ask) {
		return nil
	}
	d, _, _ := s.claimWith(func(in *inheritance) (*descriptor, error) {
		if d := in.exact[ask.record(ordinal)]; d != nil && !d.claimed && d.alive() {
			return d, nil
		}
		return nil, nil
	})
	return d
}

func (s *Set) claimWith(
	find func(*inheritance) (*descriptor, error),
) (d *descriptor, unclaimed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err = find(s.inherited)
	if d != nil && err == nil {
		d.claimed = true
		s.inherited.unclaimed--
	}
	return d, s.inherited.unclaimed, err
}

// isAmbiguous reports whether several inherited descriptors have the name.
func (s *Set) isAmbiguous(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return name != "" && len(s.inherited.named[name]) > 1
}

// disclaim makes a descriptor that could not be adopted available again. After CloseUnclaimed it
// closes it.
func (s *Set) disclaim(d *descriptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimsEnded {
		d.close()
		return
	}
	d.claimed = false
	s.inherited.unclaimed++
	s.inherited.byAddress = nil // d may be missing in it
}
