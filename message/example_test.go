package message_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/message"
)

type event interface{ message.Typed }

// renamed was first called NameChanged and had one field for the whole name.
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

// A stored event of a type that has since been renamed and changed still decodes:
// test it with reventlesstest.Decode.
func ExampleVersioned() {
	events := message.NewSet[event](renamed{})
	fmt.Println(events)
	v2, err := renamed{}.Upcasts()[1]([]byte(`{"name":"Hopper"}`))
	fmt.Println(string(v2), err)
	// Output:
	// Renamed
	// {"first":"","last":"Hopper"} <nil>
}

func ExampleReject() {
	err := message.Reject("OutOfStock", map[string]int{"left": 2})
	fmt.Println(err)
	fmt.Println(errors.Is(err, message.Reject("OutOfStock")))
	// Output:
	// OutOfStock: map[left:2]
	// true
}
