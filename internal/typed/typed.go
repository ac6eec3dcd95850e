// Package typed converts between the typed values that applications work with and
// the erased ones of package component.
package typed

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Event decodes an erased event with the set of its source.
func Event[E message.Typed](set *component.Set[E], e component.Event) (message.Event[E], error) {
	data, err := set.Decode(e.Event)
	if err != nil {
		return message.Event[E]{}, fmt.Errorf("event %s: %w", e.Meta.ID, err)
	}
	return message.Event[E]{
		EntityID: e.Stream, Position: message.Position{SequenceNr: e.SequenceNr, Index: e.Index},
		Data: data, Meta: message.Meta(e.Meta), RecordedAt: e.RecordedAt,
	}, nil
}

// Send returns the command as a message.Send.
func Send[C message.Typed](target *component.Definition, id string, commands *component.Set[C], command C) message.Send {
	var s message.Send
	s.Replace(component.SendTo(target, id, commands, command))
	return s
}

// Actions erases actions.
func Actions(actions message.Actions) []component.Action {
	if len(actions) == 0 {
		return nil
	}
	out := make([]component.Action, len(actions))
	for i, a := range actions {
		out[i] = a.Erased()
	}
	return out
}

// Rejection returns what the outcome says of the error that Decide returned. An
// error that is not a [message.Rejection] has the code "Rejected".
func Rejection(err error) (*component.Rejection, error) {
	var r *message.Rejection
	if !errors.As(err, &r) {
		return &component.Rejection{Code: "Rejected", Message: err.Error()}, nil
	}
	out := &component.Rejection{Code: r.Code, Message: err.Error()}
	if r.Detail != nil {
		d, encErr := json.Marshal(r.Detail)
		if encErr != nil {
			return nil, fmt.Errorf("detail of rejection %s: %w", r.Code, encErr)
		}
		out.Detail = d
	}
	return out, nil
}
