// Package testenv tells tests what the machine and the run give them: programs
// beside Go, and time.
package testenv

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// WithoutVariable is the environment variable that names the programs whose tests
// are left out, separated by spaces. "make test" sets it to what tools/setup does
// not find.
const WithoutVariable = "REVENTLESS_WITHOUT"

// Needs skips the test if program is named by [WithoutVariable]. Names are those
// of tools/setup. A program that is missing without being named fails the test.
func Needs(t testing.TB, program string) {
	t.Helper()
	if slices.Contains(strings.Fields(os.Getenv(WithoutVariable)), program) {
		t.Skip("left out: needs " + program) // tools/cmd/gotest looks for it
	}
}

// SeedVariable is the environment variable with the seed of random tests.
const SeedVariable = "REVENTLESS_SEED"

// Seed returns the seed of a random test, which it logs: the value of [SeedVariable], or
// a new one. given reports whether it is the former, so that a single run repeats it.
func Seed(t testing.TB) (seed uint64, given bool) {
	t.Helper()
	seed = rand.Uint64N(1 << 40)
	if s := os.Getenv(SeedVariable); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s=%q: %v", SeedVariable, s, err)
		}
		given = true
	}
	t.Logf("%s=%d", SeedVariable, seed)
	return seed, given
}

// Long reports whether tests run in their long form: "make test-long" sets
// REVENTLESS_LONG.
func Long() bool { return os.Getenv("REVENTLESS_LONG") != "" }
