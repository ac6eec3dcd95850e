package main

import (
	"slices"
	"testing"
)

func TestFind(t *testing.T) {
	words, err := parse([]byte("# a comment\n\n\\banew\\b -> again\nin any case -> always\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		prose prose
		want  []string
	}{
		"go": {ofGo([]byte(`package p

// It is made Anew, in any
// case.
func anew() string { return "anew" + "renewed" } // nothing

/* anew
   in any case */
var x = "anew" // words:allow a quotation
`)), []string{"3: Anew -> again", "3: in any case -> always", "5: anew -> again", "7: anew -> again", "8: in any case -> always"}},
		"markdown": {ofMarkdown([]byte("# Anew\n\nIn any\ncase\nnot in any\n\ncase; anew <!-- words:allow -->\n")), []string{"1: Anew -> again", "3: In any case -> always"}},
	} {
		if got := c.prose.find(words); !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%q, want\n%q", name, got, c.want)
		}
	}
}

func TestListIsWellFormed(t *testing.T) {
	for _, bad := range []string{"anew", "an(ew -> again"} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("it takes %q", bad)
		}
	}
}
