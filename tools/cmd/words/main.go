// Command words finds banned words in all files that git tracks: in Markdown, and in
// the comments and strings of Go files:
//
//	words [FOLDER]
//
// FOLDER/docs/words.txt has a line "REGULAR EXPRESSION -> REPLACEMENT" for each banned
// word. A line of text with a comment "words:allow REASON" is not checked.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	found, err := run(dir, os.Stdout)
	if err == nil && found > 0 {
		err = fmt.Errorf("%d words of docs/words.txt", found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
}

// exempt are the files that contain banned words intentionally.
var exempt = []string{"docs/glossary.md", "docs/words.txt", "tools/cmd/words/main_test.go"}

func run(dir string, out io.Writer) (found int, err error) {
	list, err := os.ReadFile(filepath.Join(dir, "docs", "words.txt"))
	if err != nil {
		return 0, err
	}
	words, err := parse(list)
	if err != nil {
		return 0, err
	}
	files, err := exec.Command("git", "-C", dir, "ls-files", "*.go", "*.md").Output()
	if err != nil {
		return 0, fmt.Errorf("git ls-files: %w", err)
	}
	for _, name := range strings.Fields(string(files)) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) || slices.Contains(exempt, name) {
			continue // it is deleted, but git still tracks it
		} else if err != nil {
			return 0, err
		}
		var p prose
		if strings.HasSuffix(name, ".go") {
			p = ofGo(text)
		} else {
			p = ofMarkdown(text)
		}
		for _, f := range p.find(words) {
			fmt.Fprintf(out, "%s:%s\n", name, f)
			found++
		}
	}
	return found, nil
}

// word is a banned word with its replacement.
type word struct {
	pattern     *regexp.Regexp
	replacement string
}

func parse(list []byte) (words []word, err error) {
	for lines := bufio.NewScanner(bytes.NewReader(list)); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		pattern, replacement, ok := strings.Cut(line, " -> ")
		if !ok {
			return nil, fmt.Errorf("docs/words.txt: no replacement in %q", line)
		}
		re, err := regexp.Compile("(?i)" + pattern)
		if err != nil {
			return nil, fmt.Errorf("docs/words.txt: %w", err)
		}
		words = append(words, word{re, replacement})
	}
	return words, nil
}

// prose is the text of a file in which a line break is a space, so that a phrase is
// found across lines.
type prose struct {
	text   []byte
	starts []int // where each part begins in text
	lines  []int // the line of each part
	allow  map[int]bool
}

// add appends a part of a line, which continues the text before it unless apart is set.
func (p *prose) add(line int, part string, apart bool) {
	separator := byte(' ')
	if apart {
		separator = '\n'
	}
	p.text = append(p.text, separator)
	p.starts, p.lines = append(p.starts, len(p.text)), append(p.lines, line)
	p.text = append(p.text, strings.Join(strings.Fields(part), " ")...)
}

func allowed(text []byte) map[int]bool {
	lines := map[int]bool{}
	for i, l := range bytes.Split(text, []byte("\n")) {
		if bytes.Contains(l, []byte("words:allow")) {
			lines[i+1] = true
		}
	}
	return lines
}

// ofMarkdown returns the paragraphs of a document.
func ofMarkdown(text []byte) prose {
	p := prose{allow: allowed(text)}
	apart := true
	for i, l := range strings.Split(string(text), "\n") {
		p.add(i+1, l, apart)
		apart = strings.TrimSpace(l) == ""
	}
	return p
}

// ofGo returns the comments and strings of a Go file.
func ofGo(text []byte) prose {
	p := prose{allow: allowed(text)}
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, func(token.Position, string) {}, scanner.ScanComments)
	comment := -1 // the line of the comment before
	for {
		pos, tok, lit := s.Scan()
		line := file.Line(pos)
		switch {
		case tok == token.EOF:
			return p
		case tok == token.COMMENT && strings.HasPrefix(lit, "//"):
			p.add(line, lit[2:], line != comment+1)
			comment = line
		case tok == token.COMMENT || tok == token.STRING:
			for i, l := range strings.Split(lit, "\n") {
				p.add(line+i, l, i == 0)
			}
		}
	}
}

// find returns the findings as "line: word -> replacement", in the order of lines.
func (p *prose) find(words []word) (found []string) {
	type finding struct {
		line int
		text string
	}
	var all []finding
	for _, w := range words {
		for _, at := range w.pattern.FindAllIndex(p.text, -1) {
			i, exact := slices.BinarySearch(p.starts, at[0])
			if !exact {
				i--
			}
			if line := p.lines[max(i, 0)]; !p.allow[line] {
				all = append(all, finding{line, fmt.Sprintf("%d: %s -> %s", line, p.text[at[0]:at[1]], w.replacement)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b finding) int { return a.line - b.line })
	for _, f := range all {
		found = append(found, f.text)
	}
	return found
}
