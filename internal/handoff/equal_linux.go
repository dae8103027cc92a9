package handoff

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// FromEqual reports whether the environment announces a link that was made by the parent of this
// process, with the effective user and group that this one has, and whether the parent has all of
// its capabilities. It is how an elevated process recognizes the same service: the parent of
// another one would have to have these rights already.
//
// With rights by file capabilities alone, there is no proof that the parent had them when it made
// the link: a user can make a link, and then execute the service in that process too. With what he
// could say over it, he gains nothing from capabilities for networks. With others, the error says
// so.
func FromEqual() (bool, error) {
	a, err := parseAnnounced(os.Getenv(EnvLink))
	if err != nil || fds.CheckInherited(a.fd) != nil {
		return false, nil //nolint:nilerr // there is no such link
	}
	maker, err := unix.GetsockoptUcred(a.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	parent := os.Getppid()
	if err != nil || int(maker.Pid) != parent || a.announcer != parent ||
		int(maker.Uid) != os.Geteuid() || int(maker.Gid) != os.Getegid() || !isAsCapable(parent) {
		return false, nil //nolint:nilerr // it is not a link of an old process
	}
	return true, checkProof()
}

// networkCapabilities are those of which the user of a service gains nothing by what he tells it:
// no file is reached by them, and no process.
const networkCapabilities = 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_BROADCAST |
	1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// checkProof returns an error if this process has dangerous capabilities, and no other rights that
// its parent would have had to have too.
func checkProof() error {
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return nil
	}
	ours, err := permitted(0)
	if err != nil {
		return err
	}
	return proof(ours)
}

// proof returns an error if the capabilities are dangerous.
func proof(ours [2]uint32) error {
	if includes([2]uint32{networkCapabilities}, ours) {
		return nil
	}
	return errors.New("it cannot be proved that the old process had the capabilities" +
		" of this one, which come from the file: such a service cannot be upgraded, except with" +
		" capabilities for networks (CAP_NET_BIND_SERVICE, for example); have a service manager" +
		" give it ambient capabilities instead")
}

// isAsCapable reports whether a process has all permitted capabilities of this one.
func isAsCapable(pid int) bool {
	theirs, err := permitted(pid)
	ours, ourErr := permitted(0)
	return err == nil && ourErr == nil && includes(theirs, ours)
}

func includes(theirs, ours [2]uint32) bool {
	return ours[0]&^theirs[0] == 0 && ours[1]&^theirs[1] == 0
}

// permitted returns the permitted capabilities of a process, 0 being this one: see capget(2).
func permitted(pid int) (set [2]uint32, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(pid)}
	var data [2]unix.CapUserData
	err = unix.Capget(&header, &data[0])
	return [2]uint32{data[0].Permitted, data[1].Permitted}, err
}
