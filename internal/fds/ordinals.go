package fds

// ordinals assigns each open socket the lowest number that no other socket of an equal request has.
type ordinals map[key]*slots

type slots struct {
	used []bool
	low  int // no slot below it is free
}

func (o ordinals) take(k key) int {
	s := o[k]
	if s == nil {
		s = &slots{}
		o[k] = s
	}
	i := s.low
	for i < len(s.used) && s.used[i] {
		i++
	}
	if i == len(s.used) {
		s.used = append(s.used, false)
	}
	s.used[i], s.low = true, i+1
	return i
}

func (o ordinals) free(k key, ordinal int) {
	s := o[k]
	s.used[ordinal] = false
	s.low = min(s.low, ordinal)
	for len(s.used) > 0 && !s.used[len(s.used)-1] {
		s.used = s.used[:len(s.used)-1]
	}
	if len(s.used) == 0 {
		delete(o, k) // a name may never be used again
	}
}
