package memory

import (
	"context"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// feed is a [driver.Receiver] on the change feed of a log. All commits
// before the cursor were delivered, or are behind an unsettled one of their
// stream; of those only the number is kept, for they can be found in the log.
type feed struct {
	log *log

	mu     sync.Mutex
	cursor int
	groups groups[*driver.Commit] // of the streams with unsettled commits before the cursor
}

func newFeed(l *log) *feed {
	f := &feed{log: l, groups: newGroups[*driver.Commit](l.p.visibility)}
	f.groups.refill = func(last *driver.Commit, n int) []*driver.Commit {
		commits := l.stream(last.Stream)[last.SequenceNr:]
		return commits[:n]
	}
	return f
}

// Receive implements [driver.Receiver].
func (f *feed) Receive(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
	var batch driver.Batch[driver.Record]
	if err := f.log.p.begin(ctx); err != nil {
		return batch, err
	}
	defer f.log.p.end()
	if err := checkMax(max); err != nil {
		return batch, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.log.p.now()
	taken := f.groups.take(now, max)
	if len(taken) < max {
		for _, c := range f.log.feed(f.cursor) {
			f.cursor++
			if d, ok := f.groups.offer(now, c.Stream, c); ok {
				taken = append(taken, d)
			}
			if len(taken) == max {
				break
			}
		}
	}
	if len(taken) == 0 {
		batch.Next = f.groups.next()
	}
	for _, d := range taken {
		c := copyCommit(*d.Message)
		batch.Deliveries = append(batch.Deliveries, driver.Delivery[driver.Record]{
			ID: d.ID, Attempt: d.Attempt,
			Message: driver.Record{Log: f.log.name, Stream: c.Stream, SequenceNr: c.SequenceNr, Commit: &c},
		})
	}
	return batch, nil
}

// Settle implements [driver.Receiver].
func (f *feed) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := f.log.p.begin(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	more := f.groups.settle(f.log.p.now(), settlements)
	f.mu.Unlock()
	f.log.p.end()
	if more {
		f.log.p.notify(driver.ReceiverOf("EventCollector", f.log.name))
	}
	return nil
}
