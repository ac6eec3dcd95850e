package counter_test

import (
	"fmt"

	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/message"
)

// A counter takes counts and targets from automations, and is the source of the
// event that a target was reached.
func Example() {
	parcels := counter.New(counter.Spec{Name: "Parcels"})

	tell := automation.New(automation.Spec{
		Name: "Tell",
		Rules: automation.Rules{automation.On(parcels, func(e message.Event[counter.Finished]) message.Actions {
			fmt.Println(e.EntityID, "has all", e.Data.Target)
			return nil
		})},
	})
	fmt.Println(tell.Definition().Name, "reacts to", counter.Finished{}.MessageType())
	// Output: Tell reacts to CountFinished
}
