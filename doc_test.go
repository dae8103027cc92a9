package grace

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// README shows a program that exists, and names tests that exist.
func TestReadmeTellsTheTruth(t *testing.T) {
	readme := read(t, "README.md")
	if program := read(t, "examples/echo/main.go"); !strings.Contains(readme, strings.TrimSpace(program)) {
		t.Error("the listing is not examples/echo/main.go")
	}
	if _, body, _ := strings.Cut(read(t, "examples/http/main.go"), "func main()"); !strings.Contains(readme, strings.TrimSpace(body)) {
		t.Error("the listing is not examples/http/main.go")
	}
	var tests strings.Builder
	for _, pattern := range []string{
		"*_test.go", "internal/*/*_test.go", "internal/*/*/*_test.go", "gracehttp/*_test.go",
		"gracegrpc/*_test.go", "e2e/*_test.go", "examples/*/*_test.go",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			tests.WriteString(read(t, f))
		}
	}
	names := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(readme, -1)
	if len(names) == 0 {
		t.Error("no guarantee is proved")
	}
	for _, name := range names {
		if !strings.Contains(tests.String(), "func "+name[1]+"(t *testing.T)") {
			t.Errorf("there is no test %s", name[1])
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
