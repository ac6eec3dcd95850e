package schedule

import (
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Schedule is a declared schedule: a command that is sent at planned times.
type Schedule struct{ declared }

type declared = component.Declared

// Spec declares a schedule.
type Spec struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// Rate says when the command is sent.
	Rate Rate
	// Send is the command.
	Send message.Send
}

// New declares a schedule. It sends the command for as long as the App declares
// it. New panics, naming the schedule, when the rate or the command is invalid.
func New(spec Spec) *Schedule {
	component.CheckName(component.KindSchedule, spec.Name)
	action := spec.Send.Erased()
	for _, err := range []error{spec.Rate.Err(), action.Err} {
		if err != nil {
			panic(fmt.Sprintf("schedule %s: %v", spec.Name, err))
		}
	}
	if action.Target == nil {
		panic(fmt.Sprintf("schedule %s: Send is required", spec.Name))
	}
	return &Schedule{component.Declare(&component.Definition{
		Kind: component.KindSchedule, Name: spec.Name, Doc: spec.Doc,
		Schedule: &component.Schedule{Expression: spec.Rate.Expression(), Zone: spec.Rate.Zone(), Action: action},
	})}
}

// Create returns the action that schedules a command at run time. The name is unique
// within the component that returns the action; a schedule with the same name is
// replaced. A one-time schedule is deleted when its command has been sent.
func Create(name string, rate Rate, send message.Send) message.Action {
	a := send.Erased()
	plan := component.Action{
		Kind: component.CreateSchedule, Target: a.Target, ID: a.ID, Command: a.Command,
		Ref: name, Expression: rate.Expression(), Zone: rate.Zone(), Err: a.Err,
	}
	if plan.Err == nil {
		plan.Err = rate.Err()
	}
	if plan.Err == nil {
		plan.Err = driver.CheckID("schedule", name)
	}
	return component.Request(plan)
}

// Delete returns the action that deletes the schedule that the same component has
// created under name. A schedule that does not exist is not an error.
func Delete(name string) message.Action {
	return component.Request(component.Action{
		Kind: component.DeleteSchedule, Ref: name, Err: driver.CheckID("schedule", name),
	})
}
