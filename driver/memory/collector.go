package memory

import (
	"context"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
)

// feed is a consumer's [driver.Receiver] of the commits of a log. The position of a
// commit is its number in the order of appends, starting at 1.
type feed struct {
	receiver[driver.Record]
	log *log
}

var _ driver.Lagger = (*feed)(nil)

func newFeed(l *log) *feed {
	f := &feed{log: l}
	f.receiver = newReceiver[driver.Record](l.p, driver.ReceiverOf("EventCollector", l.name), f)
	return f
}

// Tail implements [leases.Source].
func (f *feed) Tail() int64 { return int64(len(f.log.feed())) }

// Load implements [leases.Source].
func (f *feed) Load(_ context.Context, after int64, limit int) (items []leases.Item[driver.Record], whole bool, err error) {
	ahead := f.log.feed()[after:]
	n := min(len(ahead), limit)
	for i, c := range ahead[:n] {
		items = append(items, leases.Item[driver.Record]{Position: after + int64(i) + 1, Group: c.Stream, Content: leases.Content[driver.Record]{Message: f.record(c)}})
	}
	return items, n == len(ahead), nil
}

// Fetch implements [leases.Source].
func (f *feed) Fetch(_ context.Context, positions []int64) (map[int64]leases.Content[driver.Record], error) {
	commits := f.log.feed()
	found := make(map[int64]leases.Content[driver.Record], len(positions))
	for _, at := range positions {
		found[at] = leases.Content[driver.Record]{Message: f.record(commits[at-1])}
	}
	return found, nil
}

// Remove implements [leases.Source]: the commits stay in the log.
func (f *feed) Remove(_ context.Context, _ []int64, gone func()) error {
	gone()
	return nil
}

func (f *feed) record(stored *driver.Commit) driver.Record {
	c := copyCommit(*stored)
	return driver.Record{Log: f.log.name, Stream: c.Stream, SequenceNr: c.SequenceNr, Commit: &c}
}

// Lag implements [driver.Lagger].
func (f *feed) Lag(ctx context.Context) (driver.Lag, error) {
	if err := f.p.begin(ctx); err != nil {
		return driver.Lag{}, err
	}
	defer f.p.end()
	ahead := f.log.feed()[f.leased.Settled():]
	if len(ahead) == 0 {
		return driver.Lag{}, nil
	}
	return driver.Lag{Commits: int64(len(ahead)), Oldest: ahead[0].RecordedAt}, nil
}

var _ driver.CommitCounter = (*log)(nil)

// CountCommits implements [driver.CommitCounter].
func (l *log) CountCommits(ctx context.Context) (int64, error) {
	if err := l.p.begin(ctx); err != nil {
		return 0, err
	}
	defer l.p.end()
	l.mu.RLock()
	defer l.mu.RUnlock()
	return int64(len(l.all)), nil
}
