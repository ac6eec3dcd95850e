// Package testenv tells tests what the machine and the run give them: programs
// beside Go, and time.
package testenv

import (
	"os"
	"slices"
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

// Long reports whether tests run in their long form: "make test-long" sets
// REVENTLESS_LONG.
func Long() bool { return os.Getenv("REVENTLESS_LONG") != "" }
