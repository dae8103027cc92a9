package fds

import "context"

// claim marks the inherited descriptor that the Ask means and returns it, or nil if there is none.
// It looks up host and service names with mu released.
func (s *Set) claim(ctx context.Context, ask Ask, ordinal int) (*descriptor, error) {
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
