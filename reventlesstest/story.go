package reventlesstest

import (
	"fmt"
	"strings"
	"testing"
)

// story is what a test has told so far. Its failures say all of it.
type story struct {
	t     testing.TB
	name  string // of the component under test
	steps []string
}

// step begins a step, that is a Given or a When.
func (s *story) step(word string, what ...string) {
	s.steps = append(s.steps, strings.TrimSpace(word+" "+strings.Join(what, "; ")))
}

// fatal ends the test because the test itself, or the component, is wrong.
func (s *story) fatal(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s", s.text(fmt.Sprintf(format, args...)))
}

// differs ends the test because want is not got.
func (s *story) differs(what string, want, got []string) {
	s.t.Helper()
	s.t.Fatalf("%s", s.text(what+"\n"+mismatch("want", "got", want, got)))
}

// text is a failure: the place, what is wrong, and what went before.
func (s *story) text(what string) string {
	var b strings.Builder
	b.WriteString(s.name)
	if n := len(s.steps); n > 0 {
		word, _, _ := strings.Cut(s.steps[n-1], " ")
		fmt.Fprintf(&b, ", step %d (%s)", n, word)
	}
	b.WriteString(": " + what)
	if len(s.steps) > 0 {
		b.WriteString("\n  the steps so far:")
	}
	for i, step := range s.steps {
		fmt.Fprintf(&b, "\n  %3d. %s", i+1, shorten(step))
	}
	return b.String()
}

// shorten bounds what a failure repeats of an earlier step.
func shorten(s string) string {
	const limit = 400
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	return fmt.Sprintf("%s... (%d characters)", string(runes[:limit]), len(runes))
}
