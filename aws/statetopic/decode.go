// Package statetopic decodes the stream of the table of a read model's rows, which
// has new and old images, into the changes of rows. Package rowtable describes the
// table.
package statetopic

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// DecodeStream returns the change of a row from a record in the stream of a table of rows.
// ok is false when the row did not change or when it expired. A row counts as expired if
// it had expired at the time of the write. A malformed record leads to an error of class
// [driver.ErrInvalid], or [driver.ErrDamaged] if its image has no valid row.
func DecodeStream(c streams.Change, spec driver.TableSpec) (change driver.StateChange, ok bool, err error) {
	none := func(err error) (driver.StateChange, bool, error) {
		if err != nil {
			err = fmt.Errorf("statetopic %s: stream record %.40q: %w", spec.Name, c.Sequence, err)
		}
		return driver.StateChange{}, false, err
	}
	if c.Err != nil {
		return none(c.Err)
	}
	switch c.Kind {
	case streams.Insert, streams.Modify, streams.Remove:
	default:
		return none(fmt.Errorf("unknown kind of change %.20q: %w", c.Kind, driver.ErrInvalid))
	}
	if c.Old == nil && c.Kind != streams.Insert || c.New == nil && c.Kind != streams.Remove {
		return none(fmt.Errorf("an image is missing: %w", driver.ErrInvalid))
	}
	if c.Expired {
		return none(nil)
	}
	table := rowtable.Table{Spec: spec}
	before, was, err := row(table, c.Old, c.At)
	if err != nil {
		return none(err)
	}
	after, is, err := row(table, c.New, c.At)
	if err != nil {
		return none(err)
	}
	told := after
	var kind driver.ChangeKind
	switch {
	case !was && !is:
		return none(nil)
	case !was:
		kind = driver.Added
	case !is:
		kind, told = driver.Removed, before
	case before.Revision == after.Revision && string(before.Data) == string(after.Data):
		return none(nil) // only watermarks or indexes changed
	default:
		kind = driver.Updated
	}
	return driver.StateChange{
		Kind: kind, ReadModel: spec.Name, ID: told.ID, SubID: told.Sub, Revision: told.Revision, Row: told.Data,
	}, true, nil
}

// row returns the row of an image, and whether the image has one.
func row(table rowtable.Table, image dynamo.Item, at time.Time) (driver.Row, bool, error) {
	if _, ok := image[rowtable.Data]; !ok {
		return driver.Row{}, false, nil
	}
	r, there, err := table.Decode(image)
	return r, there && !rows.Expired(rows.Deadline(r.ExpiresAt), at), err
}
