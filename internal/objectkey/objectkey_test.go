package objectkey_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/objectkey"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, key string
		ok        bool
	}{
		{"plain", "a", true},
		{"segments", "in/2026/a b+c.csv", true},
		{"dots in a name", "a/..b/c..", true},
		{"three dots", "...", true},
		{"not ASCII", "größe/日本", true},
		{"longest", strings.Repeat("a", 1024), true},
		{"empty", "", false},
		{"too long", strings.Repeat("a", 1025), false},
		{"too long in bytes", strings.Repeat("é", 513), false},
		{"not UTF-8", "a\xff", false},
		{"control character", "a\nb", false},
		{"delete character", "a\x7fb", false},
		{"leading slash", "/a", false},
		{"trailing slash", "a/", false},
		{"only a slash", "/", false},
		{"empty segment", "a//b", false},
		{"dot", ".", false},
		{"dot segment", "a/./b", false},
		{"up", "..", false},
		{"up segment", "a/../b", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := objectkey.Check(test.key)
			if test.ok && err != nil || !test.ok && !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("Check(%q) = %v, want ok %t", test.key, err, test.ok)
			}
		})
	}
}
