package fds

import (
	"errors"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestParseAnnounced(t *testing.T) {
	none := []string(nil)
	tests := []struct {
		what, count, names string
		named              bool
		want               Announced
	}{
		{"no descriptors", "0", "", false, Announced{0, none}},
		{"no descriptors, empty names", "0", "", true, Announced{0, none}},
		{"no names", "3", "", false, Announced{3, none}},
		{"one empty name", "1", "", true, Announced{1, []string{""}}},
		{"names", "2", "http:admin", true, Announced{2, []string{"http", "admin"}}},
		{"some empty names", "3", ":admin:", true, Announced{3, []string{"", "admin", ""}}},
		{"one name for several", "2", "web:web", true, Announced{2, []string{"web", "web"}}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			got, err := parseAnnounced(tt.count, tt.names, tt.named)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseAnnouncedRefusesLies(t *testing.T) {
	tests := []struct {
		what, count, names string
		named              bool
		says               string // what the message must name, so that it can be corrected
	}{
		{"a word", "many", "", false, `LISTEN_FDS="many" is not the number of descriptors`},
		{"another word", "x", "", false, "unset it if no service manager passes sockets"},
		{"a negative count", "-1", "", false, `LISTEN_FDS="-1"`},
		{"an empty count", "", "", false, `LISTEN_FDS=""`},
		{"a fraction", "1.5", "", false, `LISTEN_FDS="1.5"`},
		{"blanks", " 1", "", false, `LISTEN_FDS=" 1"`},
		{"more than an int", "99999999999999999999", "", false, "LISTEN_FDS"},
		// First more of them is an overflow
		{"the greatest int", strconv.Itoa(math.MaxInt), "", false, "LISTEN_FDS"},
		{"more names than descriptors", "1", "a:b", true, `LISTEN_FDNAMES="a:b"`},
		{"fewer names than descriptors", "3", "a:b", true, `LISTEN_FDNAMES="a:b"`},
		{"an empty name for two", "2", "", true, `LISTEN_FDNAMES=""`},
		{"names and no descriptors", "0", "a", true, `LISTEN_FDNAMES="a"`},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			got, err := parseAnnounced(tt.count, tt.names, tt.named)
			if !errors.Is(err, ErrEnvironment) {
				t.Fatalf("got %+v, %v; want ErrEnvironment", got, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not name %s", err, tt.says)
			}
		})
	}
}

// A wrong number of names must not hide how many descriptors there are: somebody has to close them.
func TestParseAnnouncedCountsWhatIsMisnamed(t *testing.T) {
	got, err := parseAnnounced("3", "a:b", true)
	if err == nil || got.Count != 3 {
		t.Errorf("got %+v, %v; want an error and the count 3", got, err)
	}
}

// announceBy sets the variables of the environment until the end of the test; "-" stands for one
// that is not set.
func announceBy(t *testing.T, count, names, pid string) {
	t.Helper()
	for name, value := range map[string]string{
		envCount: count, envNames: names, envPID: pid, envPIDFD: "4711",
	} {
		t.Setenv(name, value)
		if value == "-" {
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// announcing lists the variables that are set.
func announcing() []string {
	var set []string
	for _, name := range envAll {
		if _, ok := os.LookupEnv(name); ok {
			set = append(set, name)
		}
	}
	return set
}

func TestTakeAnnounced(t *testing.T) {
	ours := strconv.Itoa(os.Getpid())
	tests := []struct{ what, count, names, pid string }{
		{"LISTEN_PID is ours", "2", "http:admin", ours},
		{"LISTEN_PID is empty", "2", "http:admin", ""},
		{"LISTEN_PID is not set", "2", "http:admin", "-"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			announceBy(t, tt.count, tt.names, tt.pid)
			got, err := TakeAnnounced()
			want := Announced{2, []string{"http", "admin"}}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
			if left := announcing(); left != nil {
				t.Errorf("still in the environment, where a child would find them: %v", left)
			}
		})
	}
}

// Variables for another process stay: it may be a child that is yet to be started.
func TestTakeAnnouncedLeavesWhatIsForAnother(t *testing.T) {
	announceBy(t, "not even a number", "http", strconv.Itoa(os.Getpid()+1))
	got, err := TakeAnnounced()
	if err != nil || got.Count != 0 || got.Names != nil {
		t.Errorf("got %+v, %v; want nothing", got, err)
	}
	if left := announcing(); len(left) != 4 {
		t.Errorf("only %v are left in the environment", left)
	}
}

func TestTakeAnnouncedRemovesLies(t *testing.T) {
	announceBy(t, "many", "http", "-")
	if _, err := TakeAnnounced(); !errors.Is(err, ErrEnvironment) {
		t.Errorf("got %v, want ErrEnvironment", err)
	}
	if left := announcing(); left != nil {
		t.Errorf("still in the environment: %v", left)
	}
}

func TestTakeAnnouncedWithoutVariables(t *testing.T) {
	announceBy(t, "-", "-", "-")
	if got, err := TakeAnnounced(); err != nil || got.Count != 0 {
		t.Errorf("got %+v, %v; want nothing", got, err)
	}
}

func TestAnnounce(t *testing.T) {
	long := make([]Record, 1000)
	for i := range long {
		long[i].Name = strings.Repeat("n", 255)
	}
	tests := []struct {
		what    string
		records []Record
		want    []string
	}{
		{"nothing", nil, []string{"LISTEN_FDS=0"}},
		{"no names", []Record{{}, {}}, []string{"LISTEN_FDS=2"}},
		{"names", []Record{{Name: "a"}, {}, {Name: "b"}},
			[]string{"LISTEN_FDS=3", "LISTEN_FDNAMES=a::b"}},
		{"more names than a variable can hold", long, []string{"LISTEN_FDS=1000"}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if got := Announce(tt.records); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %.200q, want %q", got, tt.want)
			}
		})
	}
}

func TestStripEnv(t *testing.T) {
	env := []string{
		"PATH=/bin", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PID=1", "LISTEN_PIDFDID=2",
		"LISTEN_FDSTORE=1",
		"LISTEN_FDS", "OTHER=1", "OTHERS=1", "OTHER=",
	}
	want := []string{"PATH=/bin", "LISTEN_FDSTORE=1", "OTHERS=1"}
	if got := StripEnv(env, "OTHER", "NONE"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"", "http", "my service.socket", "~!@#", strings.Repeat("n", 255),
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	long := strings.Repeat("n", 256)
	for _, name := range []string{"a:b", "a\n", "\x00", "\x7f", "naïve", long} {
		if err := CheckName(name); err == nil {
			t.Errorf("%.20q is accepted", name)
		}
	}
}

func FuzzAnnounced(f *testing.F) {
	for _, count := range []string{
		"", "0", "1", "2", "-1", "+3", "many", "0x10", "1e3",
		"2147483647", strconv.Itoa(math.MaxInt), "99999999999999999999",
	} {
		f.Add(count, "", false)
		f.Add(count, "", true)
		f.Add(count, "a:b", true)
		f.Add(count, "::", true)
	}
	f.Fuzz(func(t *testing.T, count, names string, named bool) {
		a, err := parseAnnounced(count, names, named)
		if err != nil {
			if !errors.Is(err, ErrEnvironment) {
				t.Errorf("%v does not match ErrEnvironment", err)
			}
			return
		}
		if a.Count < 0 || First+a.Count < First {
			t.Errorf("descriptors %d to %d", First, First+a.Count-1)
		}
		if a.Names != nil && len(a.Names) != a.Count {
			t.Errorf("%d names for %d descriptors", len(a.Names), a.Count)
		}
		if named && a.Count > 0 && strings.Join(a.Names, ":") != names {
			t.Errorf("names are %q, given were %q", a.Names, names)
		}
	})
}

// What is ignored stays open for this process, and reaches no child of it.
func TestIgnore(t *testing.T) {
	for _, value := range []string{"", "-1", "many", "99999999999", "1"} {
		t.Setenv(envCount, value)
		t.Setenv(envPID, "4711") // that it is for another process does not matter
		if !Ignore() || Ignore() {
			t.Errorf("%s=%q was not there once", envCount, value)
		}
		if _, ok := os.LookupEnv(envPID); ok {
			t.Error("the PID is left")
		}
	}
	if len(StripEnv(os.Environ())) != len(os.Environ()) {
		t.Error("variables are left")
	}
}

func TestUnaddressed(t *testing.T) {
	ours := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		what, count, pid string
		want             bool
	}{
		{"nothing is announced", "-", "-", false},
		{"to nobody", "1", "-", true},
		{"no descriptors, to nobody", "0", "", true},
		{"to us", "1", ours, false},
		{"to another, and nothing is there", "1000", "1", false},
		{"to another, nothing", "0", "1", false},
		{"to another, a lie", "many", "1", false},
		{"to another, the greatest int", strconv.Itoa(math.MaxInt), "1", false},
	} {
		announceBy(t, tt.count, "-", tt.pid)
		if got := Unaddressed(); got != tt.want {
			t.Errorf("%s: %v", tt.what, got)
		}
	}
}

func TestReaddress(t *testing.T) {
	announceBy(t, "0", "some:names", "1")
	if err := Readdress(); err != nil {
		t.Fatal(err)
	}
	if got, err := TakeAnnounced(); err != nil || got.Count != 0 || got.Names != nil ||
		announcing() != nil {
		t.Errorf("got %+v, %v; left %v", got, err, announcing())
	}
}
