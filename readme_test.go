package reventless_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/internal/doctest"
)

func TestDocumentsShowCodeThatRuns(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"README.md", "docs/api.md", "docs/drivers.md"} {
		doctest.Check(t, path)
	}
}

// The Makefile has every target that a document names.
func TestDocumentsNameTargetsOfTheMakefile(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(read("Makefile"), -1) {
		targets = append(targets, m[1])
	}
	for _, path := range []string{"README.md", "CONTRIBUTING.md", "docs/aws.md"} {
		named := regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(read(path), -1)
		if len(named) == 0 {
			t.Errorf("%s names no target: it does not say how to run or test", path)
		}
		for _, m := range named {
			if !slices.Contains(targets, m[1]) {
				t.Errorf("%s says make %s, which is not in the Makefile's help", path, m[1])
			}
		}
	}
}

// Every test, benchmark and fuzz target that docs/guarantees.md names exists. A star
// stands for any letters; "Suite/Property" is a property of package drivertest.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	functions, properties := declaredTests(t)
	named := regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[\\w*]*|[A-Z]\\w+/[A-Z]\\w+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 10 {
		t.Errorf("docs/guarantees.md names %d tests", len(named))
	}
	for _, m := range named {
		name, among := m[1], functions
		if _, property, ok := strings.Cut(name, "/"); ok {
			name, among = property, properties
		}
		pattern := regexp.MustCompile("(?m)^" + strings.ReplaceAll(name, "*", `\w*`) + "$")
		if !pattern.MatchString(among) {
			t.Errorf("docs/guarantees.md names %s, which does not exist", m[1])
		}
	}
}

// declaredTests returns the names of all test functions of the repository and all
// words in quotes of package drivertest, one a line.
func declaredTests(t *testing.T) (functions, properties string) {
	t.Helper()
	var tests, quoted strings.Builder
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)`)
	word := regexp.MustCompile(`"(\w+)"`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(src, -1) {
			tests.WriteString(string(m[1]) + "\n")
		}
		if filepath.Dir(path) == filepath.FromSlash("driver/drivertest") {
			for _, m := range word.FindAllSubmatch(src, -1) {
				quoted.WriteString(string(m[1]) + "\n")
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests.String(), quoted.String()
}
