// Package container tells whether a container ends with this process: an upgrade would then be an
// outage, because the new process would be killed as soon as the old one exits.
package container

// Reason says why the container would end with this process, as the rest of a sentence that begins
// with "because". It returns "" if the container would not, if there is no container, and if that
// cannot be told. It looks at how this process was started, so it belongs before the first upgrade,
// and at the start of the process: later it may have been adopted by PID 1.
func Reason() string { return reason() }
