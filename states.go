package grace

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-grace/grace/internal/passed"
	"github.com/go-grace/grace/internal/state"
)

// encodeStates asks the application for its states, and has them in a file for the successor. No
// two are in memory at once.
func (u *upgrade) encodeStates(ctx context.Context) error {
	all := u.m.outgoing.States()
	if len(all) == 0 {
		return nil
	}
	w, err := state.Create()
	if err != nil {
		return fmt.Errorf("create a file for the states: %w", err)
	}
	for _, s := range all {
		if err := u.encodeState(ctx, s, w); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	u.state, err = w.Finish()
	return err
}

func (u *upgrade) encodeState(ctx context.Context, s passed.State, w *state.Writer) error {
	var data []byte
	err := u.m.hooks.run(ctx, "PassState", s.Name, func(ctx context.Context) (err error) {
		data, err = s.Encode(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.Add(s.Name, data)
}

// closeState closes the file of states, of which a successor has its own descriptor.
func (u *upgrade) closeState() {
	if u.state != nil {
		_ = u.state.Close()
	}
}
