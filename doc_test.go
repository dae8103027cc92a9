package grace

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The front page shows programs that exist, and the documents name tests and files that exist.
func TestReadmeTellsTheTruth(t *testing.T) {
	readme := read(t, "README.md")
	echo := strings.TrimSpace(read(t, "examples/echo/main.go"))
	if !strings.Contains(readme, echo) {
		t.Error("the first listing is not examples/echo/main.go")
	}
	_, body, _ := strings.Cut(read(t, "examples/http/main.go"), "func main()")
	if !strings.Contains(readme, strings.TrimSpace(body)) {
		t.Error("the second listing is not the main function of examples/http/main.go")
	}
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := allTests(t)
	for _, doc := range append(documents, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		checkLinks(t, doc)
		if n := checkTests(t, doc, tests); n == 0 && doc == "docs/guarantees.md" {
			t.Error("no guarantee is proved")
		}
	}
}

// checkTests checks that the tests and examples named in a document exist, and returns how many it
// names.
func checkTests(t *testing.T, doc string, tests map[string]bool) int {
	t.Helper()
	named := regexp.MustCompile("`((?:Test|Example)[A-Za-z0-9_]+)`")
	names := named.FindAllStringSubmatch(read(t, doc), -1)
	for _, name := range names {
		if !tests[name[1]] {
			t.Errorf("%s names %s, and there is no such test", doc, name[1])
		}
	}
	return len(names)
}

// checkLinks checks that the files to which a document links exist.
func checkLinks(t *testing.T, doc string) {
	t.Helper()
	links := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(read(t, doc), -1)
	for _, link := range links {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(doc), link[1])); err != nil {
			t.Errorf("%s has a dead link: %v", doc, err)
		}
	}
}

// allTests returns the names of the tests and examples in this module and in those below it.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+|Example\w+)\((?:\w+ \*testing\.[TM])?\)`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(read(t, path), -1) {
			tests[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
