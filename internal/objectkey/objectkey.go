// Package objectkey checks object keys. All providers use it.
package objectkey

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
)

// MaxBytes is the maximum length of a key in bytes of UTF-8. It is S3's limit.
const MaxBytes = 1024

// Check checks that key is a valid object key as defined by [driver.Bucket]. The
// error is a [driver.ErrInvalid] and never contains a whole long key.
func Check(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("object key is empty: %w", driver.ErrInvalid)
	case len(key) > MaxBytes:
		return fmt.Errorf("object key %q... has %d bytes, the limit is %d: %w", key[:32], len(key), MaxBytes, driver.ErrInvalid)
	case !utf8.ValidString(key):
		return fmt.Errorf("object key %q is not valid UTF-8: %w", key, driver.ErrInvalid)
	}
	for _, r := range key {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("object key %q has a control character: %w", key, driver.ErrInvalid)
		}
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch segment {
		case "", ".", "..":
			return fmt.Errorf("object key %q has a segment %q: %w", key, segment, driver.ErrInvalid)
		}
	}
	return nil
}
