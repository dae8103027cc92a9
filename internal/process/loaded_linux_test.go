package process

import (
	"os"
	"testing"
)

func TestMappedAt(t *testing.T) {
	const maps = "00400000-004b2000 r-xp 00000000 08:02 173521      /srv/my app (deleted)\n" +
		"7ffe0000-7fff0000 rw-p 00000000 00:00 0           [stack]\n" +
		"nonsense\n" +
		"ff000000-ff001000 r-xp 00001000 08:02 12      /lib/ld.so\n"
	for address, want := range map[uint64]string{
		0x400000: "/srv/my app", 0x4b1fff: "/srv/my app", 0x4b2000: "", 0x7ffe1000: "",
		0xff000fff: "/lib/ld.so", 0: "",
	} {
		if got := mappedAt(maps, address); got != want {
			t.Errorf("at %x: %q", address, got)
		}
	}
}

// A program that was executed itself is the executed file; a start by the loader is tested in
// package grace.
func TestLoadedIsTheExecutedFile(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	if got := Loaded(self); got != self {
		t.Errorf("%s was loaded from %s", self, got)
	}
}
