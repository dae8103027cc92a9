//go:build !linux

package handoff

// FromEqual is always false: what is needed to know it differs between these systems.
func FromEqual() (bool, error) { return false, nil }
