package memory

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// log is a [driver.EventLog]. Commits never change and slices of them only grow, so
// a slice that was read under the lock can be used without it.
type log struct {
	p    *Provider
	name string

	mu      sync.RWMutex
	all     []*driver.Commit            // in append order: the change feed
	streams map[string][]*driver.Commit // commit n has index n-1
	names   []string                    // of the streams, ordered by their first commits
}

func newLog(p *Provider, name string) *log {
	return &log{p: p, name: name, streams: make(map[string][]*driver.Commit)}
}

// Append implements [driver.EventLog]. A sequence number that would leave a gap is
// [driver.ErrInvalid], so that reads never return gaps.
func (l *log) Append(ctx context.Context, c driver.Commit) error {
	if err := l.append(ctx, c); err != nil {
		return err
	}
	l.p.notify(driver.ReceiverOf("EventCollector", l.name))
	return nil
}

func (l *log) append(ctx context.Context, c driver.Commit) error {
	if err := l.p.begin(ctx); err != nil {
		return err
	}
	defer l.p.end()
	if err := driver.CheckCommit(c); err != nil {
		return fmt.Errorf("eventlog %q: %w", l.name, err)
	}
	c.RecordedAt = l.p.now().UTC()
	stored, err := driver.StoreCommit(c)
	if err == nil {
		c, err = stored.Commit() // what is not stored is not returned either
	}
	if err != nil {
		return fmt.Errorf("eventlog %q: %w", l.name, err)
	}
	if size, limit := stored.Size(), l.p.limits.MaxCommitBytes; size > limit {
		return fmt.Errorf("eventlog %q: append %q at %d: %w", l.name, c.Stream, c.SequenceNr,
			&driver.TooLargeError{What: "commit", Size: size, Limit: limit})
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	stream := l.streams[c.Stream]
	last := uint64(len(stream))
	if c.SequenceNr <= last {
		return fmt.Errorf("eventlog %q: append %q at %d: %w", l.name, c.Stream, c.SequenceNr,
			&driver.ConflictError{Winner: copyCommit(*stream[c.SequenceNr-1])})
	}
	if c.SequenceNr > last+1 {
		return fmt.Errorf("eventlog %q: append %q at %d: the last commit is %d: %w", l.name, c.Stream, c.SequenceNr, last, driver.ErrInvalid)
	}
	if last == 0 {
		l.names = append(l.names, c.Stream)
	}
	l.streams[c.Stream] = append(stream, &c)
	l.all = append(l.all, &c)
	return nil
}

// Read implements [driver.EventLog].
func (l *log) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		if err := l.p.check(ctx); err != nil {
			yield(driver.Commit{}, err)
			return
		}
		commits := l.stream(stream)
		if through > 0 {
			commits = commits[:min(through, uint64(len(commits)))]
		}
		l.yield(ctx, commits, after, yield)
	}
}

// Load implements [driver.EventLog].
func (l *log) Load(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
	if err := l.p.begin(ctx); err != nil {
		return nil, err
	}
	defer l.p.end()
	commits := l.stream(stream)
	for i := len(commits) - 1; i >= 0; i-- {
		if s := commits[i].Snapshot; s != nil && usable(copySnapshot(*s).SnapshotHead) {
			commits = commits[i:]
			break
		}
	}
	var loaded []driver.Commit
	for _, c := range commits {
		loaded = append(loaded, copyCommit(*c))
	}
	return loaded, nil
}

// Scan implements [driver.EventLog].
func (l *log) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		if err := l.p.check(ctx); err != nil {
			yield(driver.Commit{}, err)
			return
		}
		if segment < 0 || segment >= segments {
			yield(driver.Commit{}, fmt.Errorf("eventlog %q: scan segment %d of %d: %w", l.name, segment, segments, driver.ErrInvalid))
			return
		}
		l.mu.RLock()
		names := l.names
		l.mu.RUnlock()
		for _, name := range names {
			if segmentOf(name, segments) == segment && !l.yield(ctx, l.stream(name), 0, yield) {
				return
			}
		}
	}
}

// yield yields copies of the commits after a sequence number. It returns false if the
// iteration ended early.
func (l *log) yield(ctx context.Context, commits []*driver.Commit, after uint64, yield func(driver.Commit, error) bool) bool {
	for _, c := range commits[min(after, uint64(len(commits))):] {
		if err := l.p.check(ctx); err != nil {
			yield(driver.Commit{}, err)
			return false
		}
		if !yield(copyCommit(*c), nil) {
			return false
		}
	}
	return true
}

// stream returns the commits that a stream has now.
func (l *log) stream(name string) []*driver.Commit {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.streams[name]
}

// feed returns the commits that the log has now, in append order.
func (l *log) feed() []*driver.Commit {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.all
}

func segmentOf(stream string, segments int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(stream))
	return int(uint64(h.Sum32()) % uint64(segments))
}
