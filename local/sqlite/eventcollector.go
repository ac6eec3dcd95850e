package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
)

// OpenEventCollector implements [driver.Sources].
func (p *Provider) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.Receiver[driver.Record], error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	bad := func(err error) (driver.Receiver[driver.Record], error) {
		return nil, fmt.Errorf("eventcollector: open %q of log %q: %w", spec.Consumer, spec.Source.Log, err)
	}
	if spec.Consumer == "" || spec.Source.Log == "" {
		return bad(fmt.Errorf("a name is missing: %w", driver.ErrInvalid))
	}
	if spec.Source.Topic {
		q, err := p.subscribe(ctx, spec.Source.Log, spec.Consumer)
		if err != nil {
			return bad(err)
		}
		return q, nil
	}
	f, err := p.openFeed(ctx, spec)
	if err != nil {
		return bad(err)
	}
	return f, nil
}

// feed delivers the commits of a log to one consumer. Its checkpoint is the
// position up to which all commits are settled. Later settlements are known in
// memory only; the next process may deliver those commits again.
type feed struct {
	p        *Provider
	log      *eventLog
	consumer int64
	leases   *leases.Queue[driver.Record]

	mu    sync.Mutex
	saved int64 // the durable checkpoint
}

func (p *Provider) openFeed(ctx context.Context, spec driver.CollectorSpec) (*feed, error) {
	log, err := p.eventLog(ctx, spec.Source.Log)
	if err != nil {
		return nil, err
	}
	return share(p, "feed of "+spec.Source.Log, spec.Consumer, func() (*feed, error) {
		consumer, err := p.intern(ctx, kindConsumer, spec.Consumer)
		if err != nil {
			return nil, err
		}
		f := &feed{p: p, log: log, consumer: consumer}
		err = p.read(ctx, func(c *conn) error {
			_, err = c.first("SELECT pos, crc FROM feeds WHERE consumer = ? AND log = ?", []any{consumer, log.id}, func(row []sqldriver.Value) error {
				if f.saved = number(row[0]); feedSum(consumer, log.id, f.saved) != number(row[1]) {
					// The consumer skips by its watermarks what it has applied.
					p.found(damage("feeds", spec.Source.Log, spec.Consumer, "%w", errChecksum))
					f.saved = 0
				}
				return nil
			})
			return err
		})
		f.leases = leases.New[driver.Record](f, p.leasing(f.saved))
		return f, err
	})
}

// Receive implements [driver.Receiver].
func (f *feed) Receive(ctx context.Context, limit int) (driver.Batch[driver.Record], error) {
	if err := f.p.enter(ctx); err != nil {
		return driver.Batch[driver.Record]{}, err
	}
	defer f.p.leave()
	return f.leases.Receive(ctx, limit)
}

// Settle implements [driver.Receiver].
func (f *feed) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := f.p.enter(ctx); err != nil {
		return err
	}
	defer f.p.leave()
	err := f.leases.Settle(ctx, settlements)
	f.p.notify([]string{f.log.receiver}) // its next commit may be available now
	return err
}

// Tail implements [leases.Source].
func (f *feed) Tail() int64 { return f.log.head.Load() }

// Load implements [leases.Source].
func (f *feed) Load(ctx context.Context, after int64, limit int) (items []leases.Item[driver.Record], whole bool, err error) {
	err = f.p.read(ctx, func(c *conn) error {
		size := 0
		whole = true
		return c.query("SELECT "+feedColumns+", pos FROM commits WHERE log = ? AND pos > ? ORDER BY pos LIMIT ?", []any{f.log.id, after, int64(limit)},
			func(row []sqldriver.Value) error {
				r := feedRecord(row)
				items = append(items, leases.Item[driver.Record]{Position: number(row[10]), Group: r.Stream, Size: r.Size(), Content: leases.Content[driver.Record]{Message: f.record(r)}})
				if size += r.Size(); size > pageBytes || len(items) == limit {
					whole = false
					return errStop
				}
				return nil
			})
	})
	return items, whole, err
}

// record returns the delivery of a commit. It does not include a damaged commit: the
// consumer reads it from the log, and so meets the damage at its place in the stream.
func (f *feed) record(r record) driver.Record {
	out := driver.Record{Log: f.log.name, Stream: r.Stream, SequenceNr: r.SequenceNr}
	if c, err := r.decode(f.log.name); err == nil {
		out.Commit = &c
	}
	return out
}

// Fetch implements [leases.Source].
func (f *feed) Fetch(ctx context.Context, positions []int64) (map[int64]leases.Content[driver.Record], error) {
	records := make(map[int64]leases.Content[driver.Record], len(positions))
	return records, f.p.read(ctx, func(c *conn) error {
		for _, pos := range positions {
			found, err := c.first("SELECT "+feedColumns+" FROM commits WHERE pos = ? AND log = ?", []any{pos, f.log.id}, func(row []sqldriver.Value) error {
				records[pos] = leases.Content[driver.Record]{Message: f.record(feedRecord(row))}
				return nil
			})
			if err != nil {
				return err
			}
			if !found {
				return damage("commits", f.log.name, "", "the commit at position %d is missing", pos)
			}
		}
		return nil
	})
}

// Remove implements [leases.Source].
func (f *feed) Remove(ctx context.Context, _ []int64, gone func()) error {
	gone()
	settled := f.leases.Settled()
	f.mu.Lock()
	saved := f.saved
	f.mu.Unlock()
	if settled <= saved {
		return nil
	}
	return f.p.write(ctx, func(t *tx) error {
		_, _, err := t.exec(`INSERT INTO feeds (consumer, log, pos, crc) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET pos = excluded.pos, crc = excluded.crc`, f.consumer, f.log.id, settled, feedSum(f.consumer, f.log.id, settled))
		t.after(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.saved = max(f.saved, settled)
		})
		return err
	})
}
