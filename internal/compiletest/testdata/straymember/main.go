package main

import (
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"

	. "github.com/reventless-go/reventless/internal/compiletest/testdata/order"
)

var (
	commands = message.NewSet[Command](Place{}, Stray{}) // refused: missing method isCommand
	events   = message.NewSet[Event](Placed{}, Place{})  // refused: missing method isEvent
	pointer  = message.NewSet[Event](Placed{}, "Placed") // refused: missing method
)

func decide(struct{}, Command) ([]Event, error) {
	return []Event{Stray{}}, nil // refused: missing method isEvent
}

func main() { _ = plugin.Components{Order} }
