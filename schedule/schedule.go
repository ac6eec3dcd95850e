package schedule

import (
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Schedule is a declared schedule: a command that is sent by the clock.
type Schedule struct{ def *component.Definition }

// New declares a schedule that sends a command at rate, for as long as the App
// declares it. It panics, naming the schedule, when the rate or the command is
// not valid.
func New(name string, rate Rate, send message.Send) *Schedule {
	component.CheckName(component.KindSchedule, name)
	action := send.Erased()
	for _, err := range []error{rate.Err(), action.Err} {
		if err != nil {
			panic(fmt.Sprintf("schedule %s: %v", name, err))
		}
	}
	return &Schedule{&component.Definition{
		Kind: component.KindSchedule, Name: name,
		Schedule: &component.Schedule{Expression: rate.Expression(), Zone: rate.Zone(), Action: action},
	}}
}

// Definition returns the erased declaration.
func (s *Schedule) Definition() *component.Definition { return s.def }

// Create returns the action that plans a command at run time. The name is
// unique within the component that returns the action; a schedule of the same
// name is replaced. A one-time schedule removes itself.
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
	return message.NewAction(plan)
}

// Delete returns the action that removes what [Create] planned under name, in
// the same component; nothing there is fine.
func Delete(name string) message.Action {
	return message.NewAction(component.Action{
		Kind: component.DeleteSchedule, Ref: name, Err: driver.CheckID("schedule", name),
	})
}
