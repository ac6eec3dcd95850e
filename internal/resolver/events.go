package resolver

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// event is an event as the API shows it.
type event struct {
	ID            string          `json:"id"`
	SequenceNr    uint64          `json:"sequenceNr"`
	Index         int             `json:"index"`
	Type          string          `json:"type"`
	Version       int             `json:"version"`
	Data          json.RawMessage `json:"data"`
	RecordedAt    time.Time       `json:"recordedAt"`
	User          *string         `json:"user"`
	CorrelationID *string         `json:"correlationId"`
	CausationID   *string         `json:"causationId"`
}

// events returns the history of an entity. A cursor is the position of an event.
func (r *Resolver) events(ctx context.Context, c *Call) (json.RawMessage, error) {
	log, ok := r.host.EventLog(c.Operation.Component)
	if !ok {
		return nil, fail(Internal, "no log %s", c.Operation.Component)
	}
	id := c.id("id")
	if err := driver.CheckID("entity", id); err != nil {
		return nil, err
	}
	w, err := r.window(c)
	if err != nil {
		return nil, err
	}
	var sequenceNr uint64
	index := -1
	if w.cursor != "" {
		number, place, ok := strings.Cut(w.cursor, ".")
		var err1, err2 error
		sequenceNr, err1 = strconv.ParseUint(number, 10, 64)
		index, err2 = strconv.Atoi(place)
		if !ok || err1 != nil || err2 != nil || index < 0 || sequenceNr == 0 {
			return nil, fail(BadInput, "%s: %.40q is not a cursor of this list", c.Operation.Name, w.cursor)
		}
	}
	out := []byte(`{"edges":[`)
	var cursors []string
	more := false
	for commit, err := range log.Read(ctx, id, max(sequenceNr, 1)-1, 0) {
		if err != nil {
			return nil, stored(err)
		}
		for i, e := range commit.Events {
			if commit.SequenceNr == sequenceNr && i <= index {
				continue
			}
			if more = len(cursors) == w.size; more {
				break
			}
			cursor := fmt.Sprintf("%d.%d", commit.SequenceNr, i)
			command := answered(commit, i)
			text, err := json.Marshal(event{
				ID: core.EventID(c.Operation.Component, id, commit.SequenceNr, i), SequenceNr: commit.SequenceNr, Index: i,
				Type: e.Type, Version: e.Version, Data: e.Data, RecordedAt: commit.RecordedAt,
				User: optional(command.User), CorrelationID: optional(command.CorrelationID), CausationID: optional(command.ID),
			})
			if err != nil {
				return nil, err
			}
			out = append(append(edge(out, len(cursors), cursor), text...), '}')
			cursors = append(cursors, cursor)
		}
		if more {
			break
		}
	}
	return pageInfo(out, more, w.cursor != "", cursors), nil
}

// answered returns the meta of the command that led to an event of a commit.
func answered(c driver.Commit, index int) driver.Meta {
	for _, a := range c.Commands {
		if index < a.EventCount {
			return a.Meta
		}
		index -= a.EventCount
	}
	return driver.Meta{}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
