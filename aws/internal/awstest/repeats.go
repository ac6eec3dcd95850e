package awstest

import (
	"context"
	"errors"

	"github.com/reventless-go/reventless/driver"
)

// Repeats is a provider whose writes under faults are used as the engine uses them.
// What the SDK sends again may have had its effect: its condition is then lost to
// itself. Whoever reads what is there, as the engine does, finds that it is done.
func Repeats(b Backend, p driver.Provider) driver.Provider {
	if b.Faults == nil {
		return p
	}
	return repeats{p}
}

type repeats struct{ driver.Provider }

func (p repeats) OpenWatermarks(ctx context.Context, consumer string) (driver.Watermarks, error) {
	w, err := p.Provider.OpenWatermarks(ctx, consumer)
	if err != nil {
		return nil, err
	}
	return repeatedWatermarks{w}, nil
}

func (p repeats) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	db, err := p.Provider.OpenQueryDb(ctx, spec)
	if err != nil {
		return nil, err
	}
	return repeatedDb{db}, nil
}

// watermarks is a name for embedding: the interface has a method of its own name.
type watermarks = driver.Watermarks

type repeatedWatermarks struct{ watermarks }

func (w repeatedWatermarks) Advance(ctx context.Context, advances []driver.Advance) error {
	watched, lost := Watch(ctx)
	err := w.watermarks.Advance(watched, advances)
	if errors.Is(err, driver.ErrConflict) && lost() && moved(ctx, w, advances) {
		return nil
	}
	return err
}

// moved reports whether watermarks are where advances move them, or beyond.
func moved(ctx context.Context, w driver.Watermarks, advances []driver.Advance) bool {
	for _, a := range advances {
		if mark, err := w.Watermark(ctx, a.StreamKey); err != nil || mark.SequenceNr < a.To {
			return false
		}
	}
	return true
}

type repeatedDb struct{ driver.QueryDb }

func (db repeatedDb) Advance(ctx context.Context, advances []driver.Advance) error {
	return repeatedWatermarks{db.QueryDb}.Advance(ctx, advances)
}

// A step without an advance leaves nothing by which to tell who applied it: the test
// knows it.
func (db repeatedDb) Apply(ctx context.Context, step driver.Step) error {
	watched, lost := Watch(ctx)
	err := db.QueryDb.Apply(watched, step)
	if errors.Is(err, driver.ErrConflict) && lost() && moved(ctx, db.QueryDb, step.Advances) {
		return nil
	}
	return err
}
