package api_test

import "testing"

// Package server reads the SDL back with a parser of GraphQL, which the core does
// not depend on.
func TestSDLDependsOnTheAppAlone(t *testing.T) {
	t.Parallel()
	text := rich(t).SDL()
	for range 20 { // the iteration order of maps is random
		if other := rich(t).SDL(); other != text {
			t.Fatalf("the same App has two schemas:\n%s\n\n%s", text, other)
		}
	}
}
