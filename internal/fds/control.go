package fds

import "syscall"

// Control calls use with the descriptor of c, which cannot be closed meanwhile. It returns the
// error of use, or without a call of use that of c, for example because c is closed.
func Control(c syscall.Conn, use func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var useErr error
	if err := raw.Control(func(fd uintptr) { useErr = use(int(fd)) }); err != nil {
		return err
	}
	return useErr
}
