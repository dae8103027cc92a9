package state

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// seals make a file unchangeable.
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK

// create makes a file in memory or, if the system refuses that, a temporary file. It also returns
// the function that seals it.
func create() (*os.File, func(*os.File) error, error) {
	f, err := memfd()
	if err != nil {
		return tempFile()
	}
	return f, seal, nil
}

func memfd() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// Without the flag, kernels that know it warn in their log.
	fd, err := unix.MemfdCreate("grace-state", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("grace-state", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "memfd:grace-state"), nil
}

func seal(f *os.File) error {
	_, err := control(f, unix.F_ADD_SEALS, seals|unix.F_SEAL_SEAL)
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}

// checkSealed returns an error for a file that could be sealed but is not, because another process
// may still change it. Files of most file systems cannot be sealed, and those of tmpfs are sealed
// against sealing.
func checkSealed(f *os.File) error {
	has, err := control(f, unix.F_GET_SEALS, 0)
	if err != nil || has&seals == seals || has == unix.F_SEAL_SEAL {
		return nil //nolint:nilerr // the error says that this file has no seals
	}
	return errors.New("the file is in memory but not sealed, so another process may change it")
}

func control(f *os.File, cmd, arg int) (result int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { result, err = unix.FcntlInt(fd, cmd, arg) })
	return result, errors.Join(controlErr, err)
}
