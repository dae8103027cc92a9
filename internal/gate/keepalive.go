package gate

import (
	"errors"
	"net"
)

// lostKeepAlive returns what sets the keep-alive of a connection that a listener made from a
// descriptor has accepted, because package net gives it the default one (golang.org/issue/23378). It returns nil
// if package net does what the config says.
func lostKeepAlive(lacksConfig bool, config net.ListenConfig) func(*net.TCPConn) error {
	switch {
	case !lacksConfig:
		return nil
	case config.KeepAliveConfig.Enable:
		return func(c *net.TCPConn) error { return c.SetKeepAliveConfig(config.KeepAliveConfig) }
	case config.KeepAlive < 0:
		return func(c *net.TCPConn) error { return c.SetKeepAlive(false) }
	case config.KeepAlive > 0:
		return func(c *net.TCPConn) error {
			return errors.Join(c.SetKeepAlive(true), c.SetKeepAlivePeriod(config.KeepAlive))
		}
	}
	return nil
}
