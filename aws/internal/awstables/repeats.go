package awstables

import (
	"context"
	"errors"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
)

// What the SDK sends again may have had its effect: its condition is lost to
// itself then. Who reads what is there, as the engine does, finds that it is done.

type repeatedCheckpoints struct{ driver.Checkpoints }

func (c repeatedCheckpoints) Advance(ctx context.Context, advances []driver.Advance) error {
	watched, lost := awstest.Watch(ctx)
	err := c.Checkpoints.Advance(watched, advances)
	if errors.Is(err, driver.ErrConflict) && lost() && moved(ctx, c, advances) {
		return nil
	}
	return err
}

// moved reports whether watermarks are where advances move them, or beyond.
func moved(ctx context.Context, c driver.Checkpoints, advances []driver.Advance) bool {
	for _, a := range advances {
		if mark, err := c.Watermark(ctx, a.StreamKey); err != nil || mark.SequenceNr < a.To {
			return false
		}
	}
	return true
}

type repeatedDb struct{ driver.QueryDb }

func (db repeatedDb) Advance(ctx context.Context, advances []driver.Advance) error {
	return repeatedCheckpoints{db.QueryDb}.Advance(ctx, advances)
}

// Save and steps without an advance leave nothing by which to tell who wrote them:
// the test knows it.
func (db repeatedDb) Save(ctx context.Context, row driver.Row, mode driver.SaveMode) error {
	ctx, lost := awstest.Watch(ctx)
	err := db.QueryDb.Save(ctx, row, mode)
	if errors.Is(err, driver.ErrExists) && lost() {
		return nil
	}
	return err
}

func (db repeatedDb) Apply(ctx context.Context, step driver.Step) error {
	watched, lost := awstest.Watch(ctx)
	err := db.QueryDb.Apply(watched, step)
	if errors.Is(err, driver.ErrConflict) && lost() && moved(ctx, db.QueryDb, step.Advances) {
		return nil
	}
	return err
}

// Count is not sent again by the SDK, as nobody can tell whether it counted.
func (db repeatedDb) Count(ctx context.Context, key driver.Key, field string, inc int64) (n int64, err error) {
	err = awstest.Again(ctx, func() error {
		n, err = db.QueryDb.Count(awstest.Spare(ctx), key, field, inc)
		return err
	})
	return n, err
}
