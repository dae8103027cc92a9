package grace

import (
	"context"
	"os"

	"github.com/go-grace/grace/internal/handoff"
)

// detour is a new way for the connections that an older generation transfers to this process: to the successor of this one.
type detour struct {
	of     *incoming
	begins *handoff.Link // for the older generation
	theirs *os.File      // the other end, for the successor
}

// makeDetours makes one for each older generation that still transfers. Without one, for want of descriptors, the rest of its
// connections stays with that generation.
func (a *attempt) makeDetours() []detour {
	for _, in := range a.m.incoming {
		if in.hasEnded() {
			continue
		}
		if l, theirs, err := a.m.wires.pair.make(); err == nil && l != nil {
			a.detours = append(a.detours, detour{of: in, begins: l, theirs: theirs})
		}
	}
	return a.detours
}

// useDetours sends the older generations away, when the successor serves.
func (a *attempt) useDetours(ctx context.Context) {
	for _, d := range a.detours {
		d.of.redirect(ctx, d.begins)
	}
	a.closeDetours()
}

func (a *attempt) closeDetours() {
	for _, d := range a.detours {
		_ = d.begins.Close()
	}
	a.detours = nil
}
