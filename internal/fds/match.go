package fds

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// descriptor is an inherited descriptor.
type descriptor struct {
	fd      int
	file    *os.File // owns fd after the first attempt to adopt it
	record  *Record
	carrier *carrier // nil: package net gets a file of its own for each
	claimed bool
	facts   *facts // nil before inspect
}

func (d *descriptor) inspect() *facts {
	if d.facts == nil {
		f := inspect(d.fd)
		if d.record.Path != "" {
			f.path = d.record.Path // what the kernel has is relative to another directory
		}
		d.facts = &f
	}
	return d.facts
}

func (d *descriptor) String() string {
	s := fmt.Sprintf("descriptor %d", d.fd)
	if d.record.Name != "" {
		s += fmt.Sprintf(" (name %q)", d.record.Name)
	}
	return s
}

// inheritance holds the inherited descriptors of a process, with indexes.
type inheritance struct {
	descriptors []descriptor
	carrier     *carrier
	unclaimed   int // how many are not claimed
	exact       map[Record]*descriptor
	words       map[key][]*descriptor // nil if no traits tell sockets apart
	named       map[string][]*descriptor
	byAddress   map[string][]*descriptor // built by nearby, because it costs system calls
}

// carrierFrom is the number of sockets from which on a carrier costs less than files of their own.
const carrierFrom = 16

func newInheritance(records []Record) *inheritance {
	in := &inheritance{
		descriptors: make([]descriptor, len(records)),
		unclaimed:   len(records),
		exact:       make(map[Record]*descriptor, len(records)),
		named:       make(map[string][]*descriptor),
	}
	if len(records) >= carrierFrom {
		in.carrier = &carrier{}
	}
	for i := range records {
		d, r := &in.descriptors[i], &records[i]
		d.fd, d.record, d.carrier = First+i, r, in.carrier
		if r.Network != "" {
			in.exact[r.plain()] = d
		}
		if r.Name != "" {
			in.named[r.Name] = append(in.named[r.Name], d)
		}
	}
	in.indexWords()
	return in
}

// indexWords lists the descriptors of equal requests, if traits may have to tell them apart.
func (in *inheritance) indexWords() {
	namespace, mixed := "", false
	for i := range in.descriptors {
		t := in.descriptors[i].record.Traits
		namespace = cmp.Or(namespace, t.Namespace)
		mixed = mixed || t != Traits{} && t != Traits{Namespace: namespace}
	}
	if !mixed {
		return
	}
	in.words = make(map[key][]*descriptor)
	for i := range in.descriptors {
		d := &in.descriptors[i]
		if k := d.record.key(); d.record.Network != "" {
			in.words[k] = append(in.words[k], d)
		}
	}
}

// plain returns the part of a record that an Ask can repeat.
func (r Record) plain() Record {
	r.Given, r.File, r.Path, r.Traits = false, "", "", Traits{}
	return r
}

// record returns the record of a new socket for the Ask.
func (ask Ask) record(ordinal int) Record {
	return Record{Name: ask.Name, Network: ask.Network, Address: ask.Address, Ordinal: ordinal}
}

func (r Record) key() key { return key{r.Name, r.Network, r.Address} }

// Three things decide which inherited descriptor an Ask means, in this order: the name, the words
// of the request, and the socket's own address. Among sockets that are equal in these, their traits
// decide, then their order. For a given socket the name alone is enough,
// because whoever gave it chose its address. A socket that an earlier generation bound must also
// have the address that is asked for; otherwise a changed address would be ignored.

// findByRequest looks for the name and for the words of the Ask. It returns nil without an error if
// it finds neither. If several given sockets have the name, it prefers those with the words or the
// address of the Ask; address is nil if it is unknown.
func (in *inheritance) findByRequest(ask Ask, ordinal int, address *target) (*descriptor, error) {
	if d, err := in.findByName(ask, ordinal, address); d != nil || err != nil {
		return d, err
	}
	if in.words != nil {
		return choose(ask, ordinal, in.words[ask.key()])
	}
	if d := in.exact[ask.record(ordinal)]; d != nil && !d.claimed && d.fits(ask) {
		return d, nil // adopt checks its kind
	}
	return nil, nil
}

// choose returns the descriptor with the ordinal among those of equal requests. If their traits
// differ, it returns the first of those that have the wanted ones.
func choose(ask Ask, ordinal int, equal []*descriptor) (*descriptor, error) {
	left, err := single(ask, slices.DeleteFunc(slices.Clone(equal),
		func(d *descriptor) bool { return d.claimed || !d.fits(ask) }))
	if err != nil || len(left) == 0 {
		return nil, err
	}
	for _, d := range left {
		if d.record.Ordinal == ordinal {
			return d, nil
		}
	}
	if uniform(equal) {
		return nil, nil
	}
	return slices.MinFunc(left, func(a, b *descriptor) int {
		return cmp.Compare(a.record.Ordinal, b.record.Ordinal)
	}), nil
}

func (in *inheritance) findByName(
	ask Ask, ordinal int, address *target,
) (d *descriptor, wrong error) {
	if ask.Name == "" {
		return nil, nil
	}
	var candidates, near []*descriptor
	for _, d := range in.named[ask.Name] {
		if d.claimed || !d.record.Given {
			continue
		}
		r := d.record
		switch err := checkKind(ask, d); {
		case err != nil:
			wrong = err
		case r.Network == ask.Network && r.Address == ask.Address && r.Ordinal == ordinal:
			return d, nil
		default:
			candidates = append(candidates, d)
			if address != nil && address.matchesAddress(*d.facts) {
				near = append(near, d)
			}
		}
	}
	switch near, err := single(ask, near); {
	case err != nil:
		return nil, err
	case len(near) > 0:
		return near[0], nil
	case len(candidates) > 0:
		return candidates[0], nil
	}
	return nil, wrong
}

// checkKind returns an error unless the descriptor can serve the network of the Ask, at whatever
// address.
func checkKind(ask Ask, d *descriptor) error {
	fam, kind, err := kindOf(ask.Network)
	if err != nil {
		return err
	}
	t := target{family: fam, kind: kind, proto: protocolOf(ask.Network)}
	if t.fit(*d.inspect()) == 0 || (fam == familyUnix) != (d.facts.family == familyUnix) {
		return wrongKind(ask, d)
	}
	return nil
}

func wrongKind(ask Ask, d *descriptor) error {
	return fmt.Errorf("%w: %s was asked for, and %s is %s", ErrWrongKind, ask, d, d.inspect())
}

// findByAddress looks for a socket that is bound to the address of the Ask.
func (in *inheritance) findByAddress(ask Ask, t target) (*descriptor, error) {
	var best []*descriptor
	var blocking *descriptor
	bestFit := 1
	for _, d := range in.nearby(t) {
		if d.claimed || !t.matchesAddress(*d.facts) || !d.fits(ask) {
			continue
		}
		switch fit := t.fit(*d.facts); {
		case fit > bestFit:
			best, bestFit = []*descriptor{d}, fit
		case fit == bestFit:
			best = append(best, d)
		case fit == 0 && t.blockedBy(*d.facts):
			blocking = d
		}
	}
	best, err := single(ask, best)
	switch {
	case err != nil:
		return nil, err
	case len(best) > 0:
		return best[0], nil
	case blocking != nil:
		return nil, wrongKind(ask, blocking)
	}
	return nil, nil
}

// blockedBy reports whether a socket that does not fit keeps a new one from being bound to its
// address.
func (t target) blockedBy(f facts) bool {
	return f.family == familyUnix || f.connected && f.kind == t.kind
}

// nearby returns the descriptors that have the address key of t.
func (in *inheritance) nearby(t target) []*descriptor {
	if in.byAddress == nil {
		in.byAddress = make(map[string][]*descriptor)
		for i := range in.descriptors {
			if d := &in.descriptors[i]; !d.claimed {
				f := d.inspect()
				k := addressKey(f.family, f.address.Port())
				in.byAddress[k] = append(in.byAddress[k], d)
			}
		}
	}
	return in.byAddress[addressKey(t.family, t.port)]
}

// addressKey returns the part of an address that indexes it: the port, or the family of unix
// sockets, because a path can be written in several ways.
func addressKey(fam family, port uint16) string {
	if fam == familyUnix {
		return string(familyUnix)
	}
	return strconv.Itoa(int(port))
}

// parse reads the address of an Ask and looks up host and service names.
func parse(ctx context.Context, ask Ask) (target, error) {
	fam, kind, err := kindOf(ask.Network)
	if err != nil {
		return target{}, err
	}
	t := target{family: fam, kind: kind}
	if fam == familyUnix {
		t.path, t.byAddress = ask.Address, ask.Address != ""
		return t, nil
	}
	host := ask.Address
	if kind == kindRaw {
		t.proto, t.byAddress = protocolOf(ask.Network), true
	} else if host, err = t.parsePort(ctx, ask); err != nil {
		return target{}, err
	}
	if !t.byAddress {
		return t, nil
	}
	t.ips, err = lookupIPs(ctx, fam, host)
	if ip, e := netip.ParseAddr(host); e == nil && len(t.ips) == 0 {
		t.prefer = familyInet6
		if ip.Is4() {
			t.prefer = familyInet
		}
	}
	return t, err
}

// parsePort sets the port and returns the host.
func (t *target) parsePort(ctx context.Context, ask Ask) (host string, err error) {
	host, port, err := net.SplitHostPort(ask.Address)
	if err != nil {
		return "", err
	}
	n, ok := parsePort(port)
	if !ok && port != "" {
		p, err := net.DefaultResolver.LookupPort(ctx, ask.Network, port)
		if err != nil {
			return "", err
		}
		n = uint16(p)
	}
	t.port, t.byAddress = n, n != 0
	return host, nil
}

// lookupIPs returns the addresses of a host, or none if it stands for all addresses.
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

// protocolOf returns the protocol number of a network such as "ip4:icmp", or 0 if it is unknown or
// absent.
func protocolOf(network string) int {
	_, name, _ := strings.Cut(network, ":")
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	known := map[string]int{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmp6": 58}
	return known[name]
}
