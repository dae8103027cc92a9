//go:build linux

package grace_test

import "github.com/go-grace/grace"

// The example's check is that of a service too, see TestSignedProgramIsStarted.
func init() { grace.SignatureCheck = signedBy }
