package state

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// named is a state of a test.
type named struct {
	name string
	data []byte
}

// write returns a finished file.
func write(t testing.TB, w *Writer, err error, states ...named) *os.File {
	t.Helper()
	must(t, err)
	for _, s := range states {
		must(t, w.Add(s.name, s.data))
	}
	f, err := w.Finish()
	must(t, err)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sectionOf returns a section with any head.
func sectionOf(nameLen uint16, length uint64, name, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, nameLen)
	b = binary.BigEndian.AppendUint64(b, length)
	sum := crc32.Checksum(append(append(bytes.Clone(b), name...), data...),
		crc32.MakeTable(crc32.Castagnoli))
	return append(append(binary.BigEndian.AppendUint32(b, sum), name...), data...)
}

// fileOf returns a file with any number of announced sections.
func fileOf(count uint32, sections ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("gracest\x01"), count)
	return append(b, bytes.Join(sections, nil)...)
}

// good returns a correct section.
func good(name, data string) []byte {
	return sectionOf(uint16(len(name)), uint64(len(data)), name, data)
}

// Both kinds of file, if the system has two, carry the same states.
func TestStatesTravel(t *testing.T) {
	want := []named{
		{"sessions", bytes.Repeat([]byte("0123456789abcdef"), 20_000)},
		{"empty", nil},
		{"one byte", []byte{0}},
		{"größe:世界", []byte("\xff\x00")},
		{strings.Repeat("n", MaxName), []byte("x")},
	}
	for kind, create := range map[string]func() (*os.File, func(*os.File) error, error){
		"the usual": create, "a temporary file": tempFile,
	} {
		f, seal, err := create()
		must(t, err)
		file, err := Open(write(t, newWriter(f, seal), nil, want...))
		must(t, err)
		for i, s := range want {
			if file.Names()[i] != s.name {
				t.Errorf("%s: name %d is %q", kind, i, file.Names()[i])
			}
			for range 2 {
				if got, err := file.Read(s.name); err != nil || !bytes.Equal(got, s.data) {
					t.Errorf("%s: state %q: got %d bytes, %v; want %d",
						kind, s.name, len(got), err, len(s.data))
				}
			}
		}
		if _, err := file.Read("other"); err == nil || !strings.Contains(err.Error(), `"other"`) {
			t.Errorf("%s: an unknown name: %v", kind, err)
		}
		must(t, file.Close())
	}
}

// Two programs share the layout, and one may be older.
func TestLayout(t *testing.T) {
	w, err := Create()
	f := write(t, w, err, named{"a", []byte("data")}, named{"b", nil})
	defer f.Close()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if want := fileOf(2, good("a", "data"), good("b", "")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
}

func TestNoStates(t *testing.T) {
	w, err := Create()
	file, err := Open(write(t, w, err))
	must(t, err)
	defer file.Close()
	if n := len(file.Names()); n != 0 {
		t.Errorf("an empty file has %d states", n)
	}
}

func TestTemporaryFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, _, err := tempFile()
	must(t, err)
	defer f.Close()
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := Create()
	must(t, err)
	defer w.Close()
	must(t, w.Add("a", nil))
	for _, tt := range []struct {
		name string
		size int
		says string
	}{
		{"", 0, "the name is empty"},
		{strings.Repeat("x", 256), 0, "has 256 bytes, more than the 255 allowed"},
		{"\xff", 0, "is not UTF-8"},
		{"a\nb", 0, `has the character '\n'`},
		{"a", 0, `there are two states "a"`},
		{"big", MaxState + 1,
			`state "big" has 67108865 bytes, more than the 67108864 allowed: pass a file instead`},
	} {
		if err := w.Add(tt.name, make([]byte, tt.size)); err == nil ||
			!strings.Contains(err.Error(), tt.says) {
			t.Errorf("%.10q of %d bytes: got %v, want %q", tt.name, tt.size, err, tt.says)
		}
	}
}

func TestWriterCountsStatesAndBytes(t *testing.T) {
	w, err := Create()
	must(t, err)
	defer w.Close()
	w.total = MaxTotal - 1
	err = w.Add("too much", []byte("12"))
	const says = `with the 2 bytes of state "too much" all states have 268435457, more than`
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v", err)
	}
	for i := range MaxStates {
		must(t, w.Add(string(rune('世'+i)), nil))
	}
	if err := w.Add("one more", nil); err == nil ||
		!strings.Contains(err.Error(), `state "one more" is one more than the 1024`) {
		t.Errorf("got %v", err)
	}
}

// damage has files that no Writer writes.
var damage = []struct {
	what string
	file []byte
	says string
}{
	{"nothing", nil, "the header is cut off"},
	{"half a header", []byte("gracest\x01\x00"), "the header is cut off"},
	{"something else", []byte("GET / HTTP/1.1\r\n"),
		`this is not a file of states: it begins with "GET / H"`},
	{"the next version", append([]byte("gracest\x02"), 0, 0, 0, 0),
		"has version 2 of the format, and this process reads version 1"},
	{"too many", fileOf(MaxStates + 1), "announces 1025 states"},
	{"far too many", fileOf(1<<32 - 1), "announces 4294967295 states"},
	{"fewer than announced", fileOf(2, good("a", "data")), "section 2 of 2: the head is cut off"},
	{"more than announced", fileOf(1, good("a", "data"), good("b", "")),
		"15 bytes follow the last section"},
	{"a cut head", fileOf(1, good("a", "data")[:13]), "section 1 of 1: the head is cut off"},
	{"a cut name", fileOf(1, good("name", "")[:16]), "section 1 of 1: the name is cut off"},
	{"cut data", fileOf(1, good("a", "data")[:18]),
		`section 1 of 1: state "a" is cut off: it has 4 bytes, and the file 3`},
	{"no name", fileOf(1, good("", "data")), "the name is empty"},
	{"a long name", fileOf(1, good(strings.Repeat("x", 256), "data")),
		"the name has 256 bytes, more than the 255 allowed"},
	{"a name to break a terminal", fileOf(1, good("\x1b[2J", "data")), "not printable"},
	{"two of one name", fileOf(2, good("a", "data"), good("a", "")),
		`section 2 of 2: there are two states "a"`},
	{"an oversized state", fileOf(1, sectionOf(1, MaxState+1, "a", "data")),
		`state "a" has 67108865 bytes, more than the 67108864 allowed`},
	{"a state of any size", fileOf(1, sectionOf(1, 1<<64-1, "a", "data")),
		`state "a" has 18446744073709551615 bytes`},
	{"a wrong checksum", flip(fileOf(1, good("a", "data")), 22),
		`state "a" is damaged: its 4 bytes have the checksum`},
	{"a wrong byte of data", flip(fileOf(2, good("a", "data"), good("b", "more")), -1),
		`section 2 of 2: state "b" is damaged`},
	{"a wrong byte of a name", flip(fileOf(1, good("a", "data")), headerLen+headLen), "is damaged"},
}

// flip changes a bit.
func flip(b []byte, i int) []byte {
	if i < 0 {
		i += len(b)
	}
	b[i] ^= 2
	return b
}

func TestDamage(t *testing.T) {
	for _, tt := range damage {
		path := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(path, tt.file, 0o600))
		f, err := os.Open(path)
		must(t, err)
		file, err := Open(f)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, %v; want %q", tt.what, file, err, tt.says)
		}
		if f.Close() == nil {
			t.Errorf("%s: the file was left open", tt.what)
		}
	}
}

// A checksum detects any change of a single bit.
func TestEveryBitIsVerified(t *testing.T) {
	whole := fileOf(2, good("a", "data"), good("b", "more"))
	for i := range whole {
		for bit := range 8 {
			bad := slices.Clone(whole)
			bad[i] ^= 1 << bit
			if _, err := parse(bytes.NewReader(bad), int64(len(bad))); err == nil {
				t.Errorf("bit %d of byte %d can change unseen", bit, i)
			}
		}
		if _, err := parse(bytes.NewReader(whole[:i]), int64(i)); err == nil {
			t.Errorf("the first %d bytes pass for the whole", i)
		}
	}
}

// A file may have another size by the time it is read.
func TestFileThatShrinks(t *testing.T) {
	whole := fileOf(1, good("a", "data"))
	if _, err := parse(bytes.NewReader(whole[:len(whole)-1]), int64(len(whole))); err == nil ||
		!strings.Contains(err.Error(), "cut off") {
		t.Errorf("got %v", err)
	}
	if _, err := parse(bytes.NewReader(whole), int64(maxFile)+1); err == nil ||
		!strings.Contains(err.Error(), "more than the") {
		t.Errorf("got %v", err)
	}
}

// A file that could not be sealed may change after it was verified.
func TestChangeAfterOpen(t *testing.T) {
	f, seal, err := tempFile()
	must(t, err)
	file, err := Open(write(t, newWriter(f, seal), nil, named{"a", []byte("data")}))
	must(t, err)
	defer file.Close()
	_, err = f.WriteAt([]byte("tada"), int64(headerLen+headLen+1))
	must(t, err)
	if data, err := file.Read("a"); err == nil ||
		!strings.Contains(err.Error(), `state "a" is damaged`) {
		t.Errorf("got %q, %v", data, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fileOf(2, good("a", "data"), good("b", "")))
	f.Add(fileOf(0))
	for _, tt := range damage {
		f.Add(tt.file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		// A Writer would write the same states.
		var again [][]byte
		for _, s := range sections {
			again = append(again, good(s.name, string(b[s.start:s.start+s.length])))
		}
		if !bytes.Equal(fileOf(uint32(len(sections)), again...), b) {
			t.Errorf("%q was read as %+v", b, sections)
		}
	})
}
