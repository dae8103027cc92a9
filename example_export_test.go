//go:build linux

package grace_test

import "github.com/go-grace/grace"

// TestSignedProgramIsStarted runs a service with the check of the example.
func init() { grace.SignatureCheck = signedBy }

// Transfers exist only on Linux.
var _ = add(countLines)
