package mixed

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// Everything that goes wrong is in the verdict.
func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*outcome)
		want   string // in the error; "" for none
	}{
		"good": {func(*outcome) {}, ""},
		"lost request": {
			func(o *outcome) { o.kinds[0].note(0, 0, errors.New("lost")) },
			"1 of 11 requests failed",
		},
		"failed upgrade": {
			func(o *outcome) { o.Failures = []error{errors.New("no upgrade")} }, "no upgrade",
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKind(time.Minute)
			for range 10 {
				k.note(time.Millisecond, 1, nil)
			}
			o := &outcome{Outcome: &lineage.Outcome{}, kinds: []*kind{k}}
			test.change(o)
			err := o.verdict()
			if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("the verdict is %v, not %q", err, test.want)
			}
			_ = o.String() // must not panic
		})
	}
}
