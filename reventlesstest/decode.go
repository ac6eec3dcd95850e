package reventlesstest

import (
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
)

// Decode decodes a command or event that an older version of the application has
// stored: name, version and data are those of that time. It tests the aliases and
// upcasts of the types in set.
func Decode[T message.Typed](t testing.TB, set *message.Set[T], name string, version int, data string) T {
	t.Helper()
	v, err := set.Decode(driver.Event{Type: name, Version: version, Data: []byte(data)})
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return v
}
