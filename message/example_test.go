package message_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
)

type event interface{ message.Typed }

// renamed was stored as NameChanged at first, and had one name in place of two.
type renamed struct {
	First string `json:"first"`
	Last  string `json:"last"`
}

func (renamed) MessageType() string      { return "Renamed" }
func (renamed) MessageAliases() []string { return []string{"NameChanged"} }
func (renamed) Upcasts() map[int]message.Upcast {
	return map[int]message.Upcast{
		1: func(old json.RawMessage) (json.RawMessage, error) {
			var v1 struct{ Name string }
			if err := json.Unmarshal(old, &v1); err != nil {
				return nil, err
			}
			return json.Marshal(renamed{Last: v1.Name})
		},
	}
}

func ExampleSet() {
	events := message.NewSet[event](renamed{})
	stored, _ := events.Encode(renamed{"Ada", "Lovelace"})
	fmt.Println(stored.Type, stored.Version, string(stored.Data))

	old := driver.Event{Type: "NameChanged", Version: 1, Data: []byte(`{"name":"Hopper"}`)}
	e, err := events.Decode(old)
	fmt.Println(e, err)

	_, err = events.Decode(driver.Event{Type: "Renamed", Version: 3, Data: []byte(`{}`)})
	fmt.Println(errors.Is(err, message.ErrFutureVersion))
	// Output:
	// Renamed 2 {"first":"Ada","last":"Lovelace"}
	// { Hopper} <nil>
	// true
}

func ExampleReject() {
	err := message.Reject("OutOfStock", map[string]int{"left": 2})
	fmt.Println(err)
	fmt.Println(errors.Is(err, message.Reject("OutOfStock")))
	// Output:
	// OutOfStock: map[left:2]
	// true
}
