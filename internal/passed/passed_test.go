package passed

import (
	"fmt"
	"strings"
	"testing"
)

func TestErrorListsSomeNames(t *testing.T) {
	var names []string
	for i := range 22 {
		names = append(names, fmt.Sprintf("n%02d", 21-i))
	}
	if got := listNames(names); !strings.HasPrefix(got, `there are "n00", "n01", `) || !strings.HasSuffix(got, `"n19" and 2 more`) {
		t.Errorf("got %s", got)
	}
}
