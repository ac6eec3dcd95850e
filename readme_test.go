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

func TestREADMEShowsCodeThatRuns(t *testing.T) {
	t.Parallel()
	doctest.Check(t, "README.md")
}

// The targets that documents tell people to make are in the Makefile.
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
	for _, path := range []string{"README.md", "CONTRIBUTING.md", "AGENTS.md"} {
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

// The tests that the guarantees rest on exist.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (?:Test|Benchmark)\w+`).FindAll(src, -1) {
			exists[strings.TrimPrefix(string(m), "func ")] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Benchmark)\\w+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 10 {
		t.Errorf("docs/guarantees.md names %d tests", len(named))
	}
	for _, m := range named {
		if !exists[m[1]] {
			t.Errorf("docs/guarantees.md names %s, which does not exist", m[1])
		}
	}
}
