package resolver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/reventless-go/reventless/internal/host"
)

// encodePosition names a commit by a text that is opaque to callers.
func encodePosition(log, stream string, sequenceNr uint64) string {
	b, _ := json.Marshal([]any{log, stream, sequenceNr}) // strings and a number marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodePosition(text string) (host.Position, bool) {
	var p host.Position
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return p, false
	}
	err = json.Unmarshal(b, &[]any{&p.Log, &p.Stream, &p.SequenceNr})
	return p, err == nil && p.Log != "" && p.Stream != ""
}

// maxPositions bounds how many commits one query may wait for.
const maxPositions = 20

// waitFor waits until the read model has applied the positions of the call.
func (r *Resolver) waitFor(ctx context.Context, c *Call) error {
	given := c.Args["waitFor"]
	if given == nil {
		return nil
	}
	list, ok := given.([]any)
	if !ok {
		list = []any{given}
	}
	if len(list) > maxPositions {
		return fail(BadInput, "%s: waitFor has %d positions, the limit is %d", c.Operation.Name, len(list), maxPositions)
	}
	bounded, cancel := context.WithTimeout(ctx, r.opts.MaxWait)
	defer cancel()
	for _, v := range list {
		text, _ := v.(string)
		at, ok := decodePosition(text)
		if !ok {
			return fail(BadInput, "%s: waitFor %.60q is not a position of an accepted command", c.Operation.Name, text)
		}
		err := r.host.WaitApplied(bounded, c.Operation.Component, at)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return &Error{WaitTimeout, "the read model has not reached this position within " + r.opts.MaxWait.String() + "; please repeat the query", err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
