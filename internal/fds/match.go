package fds

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// heir is an inherited descriptor that nobody has asked for yet.
type heir struct {
	fd      int
	file    *os.File // owns fd once somebody has tried to adopt it
	record  *Record
	claimed bool
	facts   *facts // nil until somebody wants to know
}

func (h *heir) learn() *facts {
	if h.facts == nil {
		f := inspect(h.fd)
		h.facts = &f
	}
	return h.facts
}

func (h *heir) String() string {
	s := fmt.Sprintf("descriptor %d", h.fd)
	if h.record.Name != "" {
		s += fmt.Sprintf(" (name %q)", h.record.Name)
	}
	return s
}

// estate is what a process inherited: its heirs, with the indexes that find one.
type estate struct {
	heirs  []heir
	left   int // heirs that are not claimed
	exact  map[Record]*heir
	named  map[string][]*heir
	places map[string][]*heir // built at the first look for a place: it costs system calls
}

func newEstate(records []Record) *estate {
	e := &estate{heirs: make([]heir, len(records)), left: len(records), exact: make(map[Record]*heir, len(records)), named: make(map[string][]*heir)}
	for i := range records {
		h, r := &e.heirs[i], &records[i]
		h.fd, h.record = First+i, r
		if r.Network != "" {
			e.exact[r.plain()] = h
		}
		if r.Name != "" {
			e.named[r.Name] = append(e.named[r.Name], h)
		}
	}
	return e
}

// plain is the part of a record that an Ask can repeat.
func (r Record) plain() Record {
	r.Given, r.File = false, ""
	return r
}

// Which heir an Ask means is decided by three things, in this order: the name; what was asked for, in the same words; the
// socket's own address. A name alone decides for a socket that was given to us, since whoever gave it chose its address. A
// socket that an earlier generation bound must also have the address that is asked for: else a changed address would be
// ignored.

// findWords looks for the name and for the words of the Ask; nil without an error means that neither is there. Where several
// given sockets have the name, those with the words or the address of the Ask come first; address is nil if it is not known.
func (e *estate) findWords(ask Ask, ordinal int, address *wants) (*heir, error) {
	if h, err := e.findNamed(ask, ordinal, address); h != nil || err != nil {
		return h, err
	}
	wanted := Record{Name: ask.Name, Network: ask.Network, Address: ask.Address, Ordinal: ordinal}
	if h := e.exact[wanted]; h != nil && !h.claimed {
		return h, nil // adopt sees to its kind
	}
	return nil, nil
}

func (e *estate) findNamed(ask Ask, ordinal int, address *wants) (best *heir, wrong error) {
	if ask.Name == "" {
		return nil, nil
	}
	for _, h := range e.named[ask.Name] {
		if h.claimed || !h.record.Given {
			continue
		}
		switch err := checkKind(ask, h); {
		case err != nil:
			wrong = err
		case h.record.Network == ask.Network && h.record.Address == ask.Address && h.record.Ordinal == ordinal:
			return h, nil
		case best == nil, address != nil && address.meets(*h.facts) && !address.meets(*best.facts):
			best = h
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, wrong
}

// checkKind reports whether the descriptor can serve the network of the Ask, at whatever address.
func checkKind(ask Ask, h *heir) error {
	fam, kind, err := kindOf(ask.Network)
	if err != nil {
		return err
	}
	w := wants{family: fam, kind: kind, proto: protocolOf(ask.Network)}
	if w.fit(*h.learn()) == 0 || (fam == familyUnix) != (h.facts.family == familyUnix) {
		return wrongKind(ask, h)
	}
	return nil
}

func wrongKind(ask Ask, h *heir) error {
	return fmt.Errorf("%w: %s was asked for, and %s is %s", ErrWrongKind, ask, h, h.learn())
}

// findPlace looks for a socket that is bound to the address of the Ask.
func (e *estate) findPlace(ask Ask, w wants) (*heir, error) {
	var best, blocking *heir
	for _, h := range e.at(w) {
		if h.claimed || !w.meets(*h.facts) {
			continue
		}
		switch fit := w.fit(*h.facts); {
		case fit > 0 && (best == nil || fit > w.fit(*best.facts)):
			best = h
		case fit == 0 && w.blockedBy(*h.facts):
			blocking = h
		}
	}
	if best == nil && blocking != nil {
		return nil, wrongKind(ask, blocking)
	}
	return best, nil
}

// blockedBy reports whether the socket, which cannot serve what is wanted, keeps a new one from being bound to its address.
func (w wants) blockedBy(f facts) bool {
	return f.family == familyUnix || f.connected && f.kind == w.kind
}

// at gives the heirs whose place is near what is wanted.
func (e *estate) at(w wants) []*heir {
	if e.places == nil {
		e.places = make(map[string][]*heir)
		for i := range e.heirs {
			if h := &e.heirs[i]; !h.claimed {
				p := near(*h.learn())
				e.places[p] = append(e.places[p], h)
			}
		}
	}
	if w.family == familyUnix {
		return e.places[string(familyUnix)]
	}
	return e.places[strconv.Itoa(int(w.port))]
}

// near is the part of a place by which it is indexed: the port, or the family for unix sockets, whose paths can be written
// in several ways.
func near(f facts) string {
	if f.family == familyUnix {
		return string(familyUnix)
	}
	return strconv.Itoa(int(f.address.Port()))
}

// parse reads the address of an Ask; host and service names are looked up.
func parse(ctx context.Context, ask Ask) (wants, error) {
	fam, kind, err := kindOf(ask.Network)
	if err != nil {
		return wants{}, err
	}
	w := wants{family: fam, kind: kind}
	if fam == familyUnix {
		w.path, w.byPlace = ask.Address, ask.Address != ""
		return w, nil
	}
	host := ask.Address
	if kind == kindRaw {
		w.proto, w.byPlace = protocolOf(ask.Network), true
	} else if err := w.parsePort(ctx, ask, &host); err != nil {
		return wants{}, err
	}
	if !w.byPlace {
		return w, nil
	}
	w.ips, err = lookupIPs(ctx, fam, host)
	if ip, e := netip.ParseAddr(host); e == nil && len(w.ips) == 0 {
		w.prefer = familyInet6
		if ip.Is4() {
			w.prefer = familyInet
		}
	}
	return w, err
}

func (w *wants) parsePort(ctx context.Context, ask Ask, host *string) error {
	h, port, err := net.SplitHostPort(ask.Address)
	if err != nil {
		return err
	}
	*host = h
	n, ok := parsePort(port)
	if !ok && port != "" {
		p, err := net.DefaultResolver.LookupPort(ctx, ask.Network, port)
		if err != nil {
			return err
		}
		n = uint16(p)
	}
	w.port, w.byPlace = n, n != 0
	return nil
}

// lookupIPs gives the addresses of a host, and none for all addresses.
func lookupIPs(ctx context.Context, fam family, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() {
			return nil, nil
		}
		return []netip.Addr{ip}, nil
	}
	network := "ip"
	switch fam {
	case familyInet:
		network = "ip4"
	case familyInet6:
		network = "ip6"
	}
	return net.DefaultResolver.LookupNetIP(ctx, network, host)
}

// protocolOf gives the number of the protocol of a network such as "ip4:icmp"; 0 if it is unknown or there is none.
func protocolOf(network string) int {
	_, name, _ := strings.Cut(network, ":")
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	return map[string]int{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmp6": 58}[name]
}
