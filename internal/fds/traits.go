package fds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
)

// Traits tell sockets apart that were asked for in the same words: each can have a network
// namespace, a device and other options of its own.
type Traits struct {
	Namespace string // of the network, by its cookie; "" if it is unknown or does not matter
	Device    string // that the socket is bound to; "" for none
	Options   string // others that the Control of the ListenConfig has set; "" for none
}

// String describes the traits for error messages.
func (t Traits) String() string {
	var parts []string
	if t.Namespace != "" {
		parts = append(parts, "network namespace "+t.Namespace)
	}
	if t.Device != "" {
		parts = append(parts, "device "+t.Device)
	}
	if t.Options != "" {
		parts = append(parts, t.Options)
	}
	if len(parts) == 0 {
		return "no options"
	}
	return strings.Join(parts, ", ")
}

// excludes reports whether a socket with the traits t cannot stand in for one with the wanted ones:
// it would serve other clients. The other options only decide between several sockets.
func (t Traits) excludes(wanted Traits) bool {
	return t.Device != wanted.Device ||
		t.Namespace != wanted.Namespace && t.Namespace != "" && wanted.Namespace != ""
}

// errProbed ends the making of a socket before it is bound.
var errProbed = errors.New("the socket was only made to be looked at")

// probe returns the traits that a new socket would have. Package net makes one, and its Control
// sets it up; it is closed before it is bound. If the Control fails, for example because the
// process has dropped a privilege, nothing is known.
func probe(ctx context.Context, ask Ask) (Traits, error) {
	var found Traits
	seen := false
	config := ask.Config
	ask.Config.Control = func(network, address string, c syscall.RawConn) error {
		if seen { // package net tries TCP after MPTCP
			return errProbed
		}
		var err error
		found, err = setUp(ask, config, network, address, c)
		seen = err == nil
		return errors.Join(err, errProbed)
	}
	conn, err := listen(ctx, ask)
	switch {
	case err == nil:
		return Traits{}, errors.Join(errors.New("its Control was not called"), conn.Close())
	case !seen:
		return Traits{}, err
	}
	return found, nil
}

// setUp calls the Control of the config and returns the traits that the socket has then. An option
// that the socket had before does not count: package net has set it.
func setUp(
	ask Ask, config net.ListenConfig, network, address string, c syscall.RawConn,
) (Traits, error) {
	before := rawOptions(c)
	if err := config.Control(network, address, c); err != nil {
		return Traits{}, err
	}
	t := rawTraits(c)
	t.Options = strings.Join(slices.DeleteFunc(rawOptions(c), func(o string) bool {
		return slices.Contains(before, o)
	}), ", ")
	if !hasNamespace(ask) {
		t.Namespace = ""
	}
	return t, nil
}

func rawOptions(c syscall.RawConn) (options []string) {
	_ = c.Control(func(fd uintptr) { options = readSpecialOptions(int(fd)) })
	return options
}

func rawTraits(c syscall.RawConn) (t Traits) {
	_ = c.Control(func(fd uintptr) {
		t = Traits{Namespace: namespaceOf(int(fd)), Device: deviceOf(int(fd))}
	})
	return t
}

// hasNamespace reports whether the network namespace is a part of the address: a path is the same
// in all of them.
func hasNamespace(ask Ask) bool { return !isUnix(ask) }

// traits returns the traits of an inherited socket: those with which an earlier generation has
// bound it or, of a given one, those that it has.
func (d *descriptor) traits() Traits {
	if !d.record.Given {
		return d.present()
	}
	return Traits{
		Namespace: namespaceOf(d.fd), Device: deviceOf(d.fd),
		Options: strings.Join(readSpecialOptions(d.fd), ", "),
	}
}

// fits reports whether a socket that matches the words or the address of an Ask is not another one
// all the same, and is alive. Whoever has given a socket has chosen its traits.
func (d *descriptor) fits(ask Ask) bool {
	r := d.record
	switch {
	case r.Given:
		return true
	case r.Path != "" && ask.path != "" && r.Path != ask.path && !leadsTo(ask.path, r.File):
		return false
	case ask.traits != nil && d.present().excludes(*ask.traits):
		return false
	}
	return d.alive()
}

// present returns the traits of a socket that an earlier generation has bound, with the present
// name of its device.
func (d *descriptor) present() Traits {
	t := d.record.Traits
	if t.Device != "" && d.alive() {
		t.Device = deviceOf(d.fd)
	}
	return t
}

func (d *descriptor) alive() bool { return d.record.Traits.Device == "" || !lostDevice(d.fd) }

// single returns those of the candidates that have the wanted traits, or else all of them if no
// trait tells them apart.
func single(ask Ask, candidates []*descriptor) ([]*descriptor, error) {
	chosen := !slices.ContainsFunc(candidates, func(d *descriptor) bool { return !d.record.Given })
	if len(candidates) < 2 || chosen && ask.Config.Control == nil {
		return candidates, nil // whoever has given them has chosen their order too
	}
	if ask.traits != nil {
		var equal []*descriptor
		for _, d := range candidates {
			if d.traits() == *ask.traits {
				equal = append(equal, d)
			}
		}
		if len(equal) > 0 {
			return equal, nil
		}
	}
	if !uniform(candidates) {
		return nil, ambiguous(ask, candidates)
	}
	return candidates, nil
}

func uniform(all []*descriptor) bool {
	return !slices.ContainsFunc(all, func(d *descriptor) bool { return d.traits() != all[0].traits() })
}

func ambiguous(ask Ask, candidates []*descriptor) error {
	list := make([]string, len(candidates))
	for i, d := range candidates {
		list[i] = fmt.Sprintf("%s has %s", d, d.traits())
	}
	wanted := "what the Control of the ListenConfig would set is not known"
	if ask.traits != nil {
		wanted = "a new one would have " + ask.traits.String()
	} else if ask.probeErr != nil {
		wanted += ": " + ask.probeErr.Error()
	}
	return fmt.Errorf("%w: %s was asked for, %s; %s. "+
		"Give each socket a name of its own, from the first process on (WithName)",
		ErrAmbiguous, ask, strings.Join(list, ", "), wanted)
}
