package awstest

import (
	"context"
	"errors"
	"reflect"

	"github.com/reventless-go/reventless/driver"
)

// Repeats returns a provider that handles conflicts under faults as the engine does. If the
// SDK repeats a request that had its effect, the condition of the repetition fails. The
// wrapper, like the engine, reads the stored data and recognizes its own write.
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

// watermarks is an alias for embedding because the interface has a method Watermarks.
type watermarks = driver.Watermarks

func (p repeats) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	l, err := p.Provider.OpenEventLog(ctx, name)
	if err != nil {
		return nil, err
	}
	return repeatedLog{l}, nil
}

func (p repeats) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	t, err := p.Provider.OpenEventTopic(ctx, spec)
	if err != nil {
		return nil, err
	}
	return repeatedTopic{t}, nil
}

// repeatedLog recognizes its own commit in a conflict, as the engine does.
type repeatedLog struct{ driver.EventLog }

func (l repeatedLog) Append(ctx context.Context, c driver.Commit) error {
	ctx, lost := Watch(ctx)
	err := l.EventLog.Append(ctx, c)
	var conflict *driver.ConflictError
	if errors.As(err, &conflict) && lost() && reflect.DeepEqual(conflict.Winner.Commands, c.Commands) {
		return nil
	}
	return err
}

// repeatedTopic retries temporary failures, as a relay does. The SDK does not recognize
// all throttling errors of SNS.
type repeatedTopic struct{ driver.EventTopic }

func (t repeatedTopic) Publish(ctx context.Context, envelopes []driver.Envelope) error {
	refused := map[string]error{}
	err := Again(ctx, func() error {
		err := t.EventTopic.Publish(ctx, envelopes)
		var some *driver.BatchError
		if !errors.As(err, &some) {
			return err
		}
		var again []driver.Envelope
		for _, e := range envelopes {
			switch err := some.Failed[e.Key()]; {
			case err == nil:
			case errors.Is(err, driver.ErrThrottled) || errors.Is(err, driver.ErrUnavailable):
				again = append(again, e)
			default:
				refused[e.Key()] = err
			}
		}
		if envelopes = again; len(again) == 0 {
			return nil
		}
		return err
	})
	if err == nil && len(refused) > 0 {
		return &driver.BatchError{Failed: refused}
	}
	return err
}

type repeatedWatermarks struct{ watermarks }

func (w repeatedWatermarks) Advance(ctx context.Context, advances []driver.Advance) error {
	watched, lost := Watch(ctx)
	err := w.watermarks.Advance(watched, advances)
	if errors.Is(err, driver.ErrConflict) && lost() && moved(ctx, w, advances) {
		return nil
	}
	return err
}

// moved reports whether all watermarks have reached the targets of advances.
func moved(ctx context.Context, w driver.Watermarks, advances []driver.Advance) bool {
	for _, a := range advances {
		if current, err := w.Watermark(ctx, a.StreamKey); err != nil || current.SequenceNr < a.To {
			return false
		}
	}
	return true
}

type repeatedDb struct{ driver.QueryDb }

func (db repeatedDb) Advance(ctx context.Context, advances []driver.Advance) error {
	return repeatedWatermarks{db.QueryDb}.Advance(ctx, advances)
}

// A step without advances leaves no watermark to compare: the wrapper takes its own lost
// request for the cause.
func (db repeatedDb) Apply(ctx context.Context, step driver.Step) error {
	watched, lost := Watch(ctx)
	err := db.QueryDb.Apply(watched, step)
	if errors.Is(err, driver.ErrConflict) && lost() && moved(ctx, db.QueryDb, step.Advances) {
		return nil
	}
	return err
}
