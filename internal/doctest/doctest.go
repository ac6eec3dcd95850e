// Package doctest compares the Go code in documents with the source that it was
// copied from. A line before such a block names the source:
//
//	<!-- from example_test.go#Example -->
//	```go
//	...
//	```
//
// The name is one of these:
//   - a region in the file, between the lines "// region NAME" and "// endregion"
//   - a function: the block is its body
//   - a method, as Type.Method, or a type: the block is the declaration without its
//     comment
//
// The path of the file is relative to the document.
package doctest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Check compares each marked block of the document at path with its source.
// Indentation that all lines have in common does not matter. A document without
// such a block fails.
func Check(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, b := range blocks {
		want, err := source(filepath.Join(filepath.Dir(path), b.file), b.name)
		if err != nil {
			t.Errorf("%s:%d: %v", path, b.line, err)
			continue
		}
		if line, got, want := difference(b.code, want); line >= 0 {
			t.Errorf("%s:%d: differs from %s#%s: the document has\n\t%q, the source\n\t%q", path, b.line+line, b.file, b.name, got, want)
		}
	}
}

// errDocument is wrapped by the errors of a document or its source, apart from a
// difference between the two.
var errDocument = errors.New("not a document with code")

// block is a marked block of code.
type block struct {
	file, name string
	line       int // the first line of code, from 1
	code       []string
}

var (
	marker = regexp.MustCompile(`^\s*<!--\s*from\s+(\S+?)(?:#(\S+))?\s*-->\s*$`)
	// almost matches misspelt markers, whose blocks would not be checked.
	almost = regexp.MustCompile(`<!--\s*from\b`)
	region = regexp.MustCompile(`^\s*// region (\S+)\s*$`)
	ending = regexp.MustCompile(`^\s*// endregion\b`)
)

func parse(text string) ([]block, error) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	var blocks []block
	for i := 0; i < len(lines); i++ {
		m := marker.FindStringSubmatch(lines[i])
		if m == nil || m[2] == "" {
			if almost.MatchString(lines[i]) {
				return nil, fmt.Errorf("line %d: %q is no marker <!-- from FILE#NAME -->: %w", i+1, lines[i], errDocument)
			}
			continue
		}
		b := block{file: m[1], name: m[2], line: i + 3}
		if i++; i == len(lines) || strings.TrimSpace(lines[i]) != "```go" {
			return nil, fmt.Errorf("line %d: no ```go follows the marker: %w", i, errDocument)
		}
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
			b.code = append(b.code, lines[i])
		}
		if i == len(lines) {
			return nil, fmt.Errorf("line %d: the block has no end: %w", b.line, errDocument)
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("no block of code is marked with its source: %w", errDocument)
	}
	return blocks, nil
}

// source returns the lines of a region, a function's body, a method or a type.
func source(path, name string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	for i, l := range lines {
		if m := region.FindStringSubmatch(l); m == nil || m[1] != name {
			continue
		}
		for j := i + 1; j < len(lines); j++ {
			if ending.MatchString(lines[j]) {
				return lines[i+1 : j], nil
			}
		}
		return nil, fmt.Errorf("the region %s of %s has no end: %w", name, path, errDocument)
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		if from, to := declaration(d, name); from.IsValid() {
			return lines[files.Position(from).Line-1 : files.Position(to).Line], nil
		}
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == name && f.Body != nil {
			from, to := files.Position(f.Body.Lbrace).Line, files.Position(f.Body.Rbrace).Line
			return lines[from : to-1], nil
		}
	}
	return nil, fmt.Errorf("%s has no region, function, method or type %s: %w", path, name, errDocument)
}

// declaration returns the range of d if it declares the method or type called name.
func declaration(d ast.Decl, name string) (from, to token.Pos) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && receiver(d.Recv.List[0].Type)+"."+d.Name.Name == name {
			return d.Pos(), d.End()
		}
	case *ast.GenDecl:
		if len(d.Specs) != 1 {
			break
		}
		if t, ok := d.Specs[0].(*ast.TypeSpec); ok && t.Name.Name == name {
			return d.Pos(), d.End()
		}
	}
	return token.NoPos, token.NoPos
}

// receiver returns the name of a receiver's type, without its star and its type
// parameters.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// difference returns the index in got of the first line that differs from want, or -1.
func difference(got, want []string) (line int, g, w string) {
	start := 0
	for start < len(got) && strings.TrimSpace(got[start]) == "" {
		start++
	}
	got, want = shifted(got), shifted(want)
	for i := range max(len(got), len(want)) {
		g, w = "(nothing)", "(nothing)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return start + i, g, w
		}
	}
	return -1, "", ""
}

// shifted removes the common indentation of all lines, trailing spaces, and empty lines
// at both ends.
func shifted(lines []string) []string {
	text := strings.Split(strings.Trim(strings.Join(trimmed(lines), "\n"), "\n"), "\n")
	common := -1
	for _, l := range text {
		if l == "" {
			continue
		}
		if tabs := len(l) - len(strings.TrimLeft(l, "\t")); common < 0 || tabs < common {
			common = tabs
		}
	}
	for i, l := range text {
		if l != "" {
			text[i] = l[common:]
		}
	}
	return text
}

func trimmed(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimRight(l, " \t")
	}
	return out
}
