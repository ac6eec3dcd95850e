package doctest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goFile = `package p

// region types
type A struct {
	B int
}

// endregion

func Example() {
	a := A{}
	if a.B == 0 {

		// region inner
		a.B++
		// endregion
	}
	// Output: 1
}

// Method has a comment.
func (A) Method() { panic(1) }

type G[T any] struct{ t T }

func (g *G[T]) Get() T {
	return g.t
}

// region open
`

func document(marker string, code ...string) string {
	return "# Title\n\n" + marker + "\n```go\n" + strings.Join(code, "\n") + "\n```\n\n```go\nunmarked\n```\n"
}

func TestSameAsTheSource(t *testing.T) {
	t.Parallel()
	path := write(t)
	for name, test := range map[string]struct {
		text string
		line int // of the first difference in the document; 0 without a difference
		err  error
	}{
		"a region":                 {text: document("<!-- from x.go#types -->", "type A struct {", "\tB int", "}")},
		"a function's body":        {text: document("<!-- from x.go#Example -->", "a := A{}", "if a.B == 0 {", "", "\t// region inner", "\ta.B++", "\t// endregion", "}", "// Output: 1")},
		"indentation":              {text: document("<!-- from x.go#inner -->", "\ta.B++", "")},
		"a method":                 {text: document("<!-- from x.go#A.Method -->", "func (A) Method() { panic(1) }")},
		"a generic method":         {text: document("<!-- from x.go#G.Get -->", "func (g *G[T]) Get() T {", "\treturn g.t", "}")},
		"a type":                   {text: document("<!-- from x.go#G -->", "type G[T any] struct{ t T }")},
		"another line":             {text: document("<!-- from x.go#types -->", "type A struct {", "\tB uint", "}"), line: 6},
		"other indentation":        {text: document("<!-- from x.go#types -->", "type A struct {", "B int", "}"), line: 6},
		"a line too few":           {text: document("<!-- from x.go#types -->", "type A struct {", "\tB int"), line: 7},
		"a line too many":          {text: document("<!-- from x.go#inner -->", "", "a.B++", "a.B--"), line: 7},
		"an empty block":           {text: document("<!-- from x.go#inner -->"), line: 6},
		"no such name":             {text: document("<!-- from x.go#gone -->", "a"), err: errDocument},
		"a method's name":          {text: document("<!-- from x.go#Method -->", "a"), err: errDocument},
		"a region with no end":     {text: document("<!-- from x.go#open -->", "a"), err: errDocument},
		"no such file":             {text: document("<!-- from gone.go#types -->", "a"), err: os.ErrNotExist},
		"nothing marked":           {text: document("", "a"), err: errDocument},
		"a marker without a name":  {text: document("<!-- from x.go -->", "a"), err: errDocument},
		"a marker in a line":       {text: document("See <!-- from x.go#types -->", "a"), err: errDocument},
		"a marker without a block": {text: "<!-- from x.go#types -->\n\n```go\na\n```\n", err: errDocument},
		"a block with no end":      {text: "<!-- from x.go#types -->\n```go\na\n", err: errDocument},
		"a marker at the end":      {text: "<!-- from x.go#types -->", err: errDocument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line, err := compare(test.text, filepath.Dir(path))
			if !errors.Is(err, test.err) || line != test.line {
				t.Errorf("difference in line %d, %v, want line %d, %v", line, err, test.line, test.err)
			}
		})
	}
}

func compare(text, dir string) (line int, err error) {
	blocks, err := parse(text)
	if err != nil {
		return 0, err
	}
	for _, b := range blocks {
		want, err := source(filepath.Join(dir, b.file), b.name)
		if err != nil {
			return 0, err
		}
		if at, _, _ := difference(b.code, want); at >= 0 {
			return b.line + at, nil
		}
	}
	return 0, nil
}

func write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.go")
	if err := os.WriteFile(path, []byte(goFile), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
