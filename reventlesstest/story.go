package reventlesstest

import (
	"fmt"
	"strings"
	"testing"
)

// story contains the steps of a test so far, which failures show.
type story struct {
	t     testing.TB
	name  string // of the component under test
	steps []string
}

// step begins a step: a Given or a When.
func (s *story) step(word string, what ...string) {
	s.steps = append(s.steps, strings.TrimSpace(word+" "+strings.Join(what, "; ")))
}

// fatal fails the test.
func (s *story) fatal(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s", s.text(fmt.Sprintf(format, args...)))
}

// differs fails the test because want and got differ.
func (s *story) differs(what string, want, got []string) {
	s.t.Helper()
	s.t.Fatalf("%s", s.text(what+"\n"+mismatch("want", "got", want, got)))
}

// text returns a failure: the step, what is wrong, and the steps so far.
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

// shorten truncates the text of a step.
func shorten(s string) string {
	const limit = 400
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	return fmt.Sprintf("%s... (%d characters)", string(runes[:limit]), len(runes))
}
