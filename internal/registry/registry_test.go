package registry

import (
	"sync"
	"testing"
)

func TestValueIsKeptUntilItIsForgotten(t *testing.T) {
	var r Registry[string, int]
	made := 0
	create := func() (int, bool) { made++; return made, true }
	for range 2 {
		if got := r.Of("a", create); got != 1 {
			t.Errorf("the value is %d", got)
		}
	}
	if got := r.Of("b", create); got != 2 || r.Len() != 2 {
		t.Errorf("the value of another key is %d, of %d", got, r.Len())
	}
	r.Forget("a")
	r.Forget("a")
	if got := r.Of("a", create); got != 3 || r.Len() != 2 {
		t.Errorf("the value after Forget is %d, of %d", got, r.Len())
	}
}

func TestValueThatIsNotKept(t *testing.T) {
	var r Registry[string, int]
	for want := range 2 {
		if got := r.Of("a", func() (int, bool) { return want, false }); got != want || r.Len() > 0 {
			t.Errorf("the value is %d and not %d, of %d", got, want, r.Len())
		}
	}
}

// However many ask at once, a value is created once, and all get it.
func TestValueIsCreatedOnce(t *testing.T) {
	var r Registry[string, *int]
	var asking sync.WaitGroup
	made, got := 0, make([]*int, 20)
	for i := range got {
		asking.Go(func() {
			got[i] = r.Of("a", func() (*int, bool) { made++; return new(int), true })
		})
	}
	asking.Wait()
	for _, v := range got {
		if v != got[0] {
			t.Fatal("not all have the same value")
		}
	}
	if made != 1 {
		t.Errorf("%d values were created", made)
	}
}
