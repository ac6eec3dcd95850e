package host_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

var decoded, encoded atomic.Int64

// Watched counts how often it is decoded and encoded.
type Watched string

func (w *Watched) UnmarshalJSON(data []byte) error {
	decoded.Add(1)
	return json.Unmarshal(data, (*string)(w))
}

func (w Watched) MarshalJSON() ([]byte, error) {
	encoded.Add(1)
	return json.Marshal(string(w))
}

type (
	Watch struct {
		Text Watched `json:"text"`
	}
	WatchedRow struct {
		Sub  string  `json:"sub"`
		Text Watched `json:"text"`
	}
)

func (Watch) MessageType() string { return "Watch" }
func (Watch) isCommand()          {}

func TestCommandIsDecodedAndRowEncodedOnce(t *testing.T) {
	jar := newJar(func(s *jarSpec) {
		s.Commands, s.Access = message.NewSet[Command](Watch{}), access.Rules{access.Internal}
		s.Decide = func(Jar, Command) ([]Event, error) { return []Event{Added{N: 1}}, nil }
	})
	model := readmodel.New(readmodel.Spec[WatchedRow]{
		Name: "Watched", SubID: "sub", Access: access.Internal,
		Projections: []readmodel.Projection[WatchedRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[WatchedRow] {
			return append(readmodel.PutRows(e.EntityID, WatchedRow{Sub: "a"}, WatchedRow{Sub: "b"}),
				readmodel.UpdateRows(e.EntityID, func(rows []WatchedRow) []WatchedRow { return append(rows, WatchedRow{Sub: "c"}) })...)
		})},
	})
	r := start(t, app(jar, model), asleep)
	decoded.Store(0)
	c := driver.Command{Target: "Shop.Jar", Entity: "a", Type: "Watch", Data: []byte(`{"text":"x"}`), Meta: driver.Meta{ID: "1"}}
	if o, err := r.Send(t.Context(), c); err != nil || o.Kind != driver.Accepted {
		t.Errorf("got %+v, %v", o, err)
	}
	wantEqual(t, "decoded", decoded.Load(), 1)
	encoded.Store(0)
	r.work()
	wantEqual(t, "rows", len(rows(r, model)), 3)
	wantEqual(t, "encoded", encoded.Load(), 3)
}
