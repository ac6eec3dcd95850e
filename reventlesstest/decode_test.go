package reventlesstest_test

import (
	"encoding/json"
	"testing"

	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/reventlesstest"
)

// moved was stored as Shelved, and counted shelves from 0 in version 1.
type moved struct{ Shelf int }

func (moved) MessageType() string      { return "Moved" }
func (moved) MessageAliases() []string { return []string{"Shelved"} }

func (moved) Upcasts() map[int]message.Upcast {
	return map[int]message.Upcast{1: func(old json.RawMessage) (json.RawMessage, error) {
		var m moved
		if err := json.Unmarshal(old, &m); err != nil {
			return nil, err
		}
		m.Shelf++
		return json.Marshal(m)
	}}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	set := message.NewSet(moved{})
	if got := reventlesstest.Decode(t, set, "Shelved", 1, `{"Shelf":0}`); got.Shelf != 1 {
		t.Errorf("version 1: got %v", got)
	}
	if got := reventlesstest.Decode(t, set, "Moved", 2, `{"Shelf":7}`); got.Shelf != 7 {
		t.Errorf("version 2: got %v", got)
	}
	for name, f := range map[string]func(testing.TB){
		"unknown type":                    func(t testing.TB) { reventlesstest.Decode(t, set, "Lost", 1, `{}`) },
		"version is newer than this code": func(t testing.TB) { reventlesstest.Decode(t, set, "Moved", 3, `{}`) },
		"malformed payload":               func(t testing.TB) { reventlesstest.Decode(t, set, "Shelved", 1, `[]`) },
	} {
		fails(t, f, name)
	}
}
