//go:build !linux

package fds

type backlogs struct{}

func newBacklogs() backlogs { return backlogs{} }

func (backlogs) refresh(*Socket) {}
