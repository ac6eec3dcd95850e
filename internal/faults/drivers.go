package faults

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/reventless-go/reventless/driver"
)

type eventLog struct {
	p     *Provider
	name  string
	inner driver.EventLog
}

func (l *eventLog) Append(ctx context.Context, c driver.Commit) error {
	return l.p.do("EventLog.Append", l.name, []string{c.Stream}, func() error { return l.inner.Append(ctx, c) })
}

func (l *eventLog) Load(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
	return get(l.p, "EventLog.Load", l.name, []string{stream}, func() ([]driver.Commit, error) {
		commits, err := l.inner.Load(ctx, stream, foldVersion)
		l.p.read(l.name, len(commits))
		return commits, err
	})
}

func (l *eventLog) Read(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
	return l.sequence("EventLog.Read", []string{stream}, func() iter.Seq2[driver.Commit, error] { return l.inner.Read(ctx, stream, after) })
}

func (l *eventLog) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return l.sequence("EventLog.Scan", nil, func() iter.Seq2[driver.Commit, error] { return l.inner.Scan(ctx, segment, segments) })
}

// sequence fails as a sequence does: after some elements, as the last one.
func (l *eventLog) sequence(op string, keys []string, f func() iter.Seq2[driver.Commit, error]) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		r := l.p.match(op, l.name, keys)
		if r != nil && r.Do != nil {
			r.Do()
		}
		if r == nil || r.Err == nil {
			for c, err := range f() {
				l.p.read(l.name, 1)
				if !yield(c, err) {
					return
				}
			}
			return
		}
		n := 0
		for c, err := range f() {
			if err != nil || n == r.Yield {
				break
			}
			if n++; !yield(c, nil) {
				return
			}
		}
		yield(driver.Commit{}, r.err(op, l.name))
	}
}

type commandTopic struct {
	p     *Provider
	name  string
	inner driver.CommandTopic
}

func (t *commandTopic) Send(ctx context.Context, commands []driver.Command) error {
	return batch(t.p, "CommandTopic.Send", t.name, commands,
		func(c driver.Command) string { return c.Entity }, func(c driver.Command) string { return c.Meta.ID },
		func(cs []driver.Command) error { return t.inner.Send(ctx, cs) })
}

type eventTopic struct {
	p     *Provider
	log   string
	inner driver.EventTopic
}

func (t *eventTopic) Publish(ctx context.Context, envelopes []driver.Envelope) error {
	return batch(t.p, "EventTopic.Publish", t.log, envelopes,
		func(e driver.Envelope) string { return e.Commit.Stream }, driver.Envelope.Key,
		func(es []driver.Envelope) error { return t.inner.Publish(ctx, es) })
}

type watermarks struct {
	p          *Provider
	kind, name string
	inner      driver.Watermarks
}

func (c *watermarks) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	return get(c.p, c.kind+".Watermark", c.name, []string{stream.Stream}, func() (driver.Watermark, error) {
		return c.inner.Watermark(ctx, stream)
	})
}

func (c *watermarks) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	keys := make([]string, len(streams))
	for i, s := range streams {
		keys[i] = s.Stream
	}
	return get(c.p, c.kind+".Watermarks", c.name, keys, func() (map[driver.StreamKey]driver.Watermark, error) {
		return c.inner.Watermarks(ctx, streams)
	})
}

func (c *watermarks) Advance(ctx context.Context, advances []driver.Advance) error {
	return c.p.do(c.kind+".Advance", c.name, streamsOf(advances), func() error { return c.inner.Advance(ctx, advances) })
}

func (c *watermarks) Block(ctx context.Context, stream driver.StreamKey, at uint64) error {
	return c.p.do(c.kind+".Block", c.name, []string{stream.Stream}, func() error { return c.inner.Block(ctx, stream, at) })
}

func (c *watermarks) Unblock(ctx context.Context, stream driver.StreamKey) error {
	return c.p.do(c.kind+".Unblock", c.name, []string{stream.Stream}, func() error { return c.inner.Unblock(ctx, stream) })
}

func streamsOf(advances []driver.Advance) []string {
	out := make([]string, len(advances))
	for i, a := range advances {
		out[i] = a.Stream
	}
	return out
}

// queryDb is inner with the methods that the engine writes and reads through.
type queryDb struct {
	driver.QueryDb
	watermarks
}

var _ driver.QueryDb = (*queryDb)(nil)

func (db *queryDb) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	return db.watermarks.Watermark(ctx, stream)
}

func (db *queryDb) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	return db.watermarks.Watermarks(ctx, streams)
}

func (db *queryDb) Advance(ctx context.Context, advances []driver.Advance) error {
	return db.watermarks.Advance(ctx, advances)
}

func (db *queryDb) Block(ctx context.Context, stream driver.StreamKey, at uint64) error {
	return db.watermarks.Block(ctx, stream, at)
}

func (db *queryDb) Unblock(ctx context.Context, stream driver.StreamKey) error {
	return db.watermarks.Unblock(ctx, stream)
}

func (db *queryDb) Load(ctx context.Context, id string) ([]driver.Row, error) {
	return get(db.p, "QueryDb.Load", db.name, []string{id}, func() ([]driver.Row, error) { return db.QueryDb.Load(ctx, id) })
}

func (db *queryDb) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	return get(db.p, "QueryDb.LoadRow", db.name, []string{key.ID}, func() (driver.Row, error) { return db.QueryDb.LoadRow(ctx, key) })
}

func (db *queryDb) LoadRows(ctx context.Context, rows []driver.Key) ([]driver.Row, error) {
	keys := make([]string, len(rows))
	for i, k := range rows {
		keys[i] = k.ID
	}
	return get(db.p, "QueryDb.LoadRows", db.name, keys, func() ([]driver.Row, error) { return db.QueryDb.LoadRows(ctx, rows) })
}

// Apply is about the streams that the step advances.
func (db *queryDb) Apply(ctx context.Context, step driver.Step) error {
	return db.p.do("QueryDb.Apply", db.name, streamsOf(step.Advances), func() error { return db.QueryDb.Apply(ctx, step) })
}

func (db *queryDb) Clear(ctx context.Context) error {
	return db.p.do("QueryDb.Clear", db.name, nil, func() error { return db.QueryDb.Clear(ctx) })
}

type counter struct {
	p     *Provider
	name  string
	inner driver.Counter
}

func (c *counter) Count(ctx context.Context, counterID, reference string, n int64) error {
	return c.p.do("Counter.Count", c.name, []string{counterID}, func() error { return c.inner.Count(ctx, counterID, reference, n) })
}

func (c *counter) AddTarget(ctx context.Context, counterID, reference string, target int64) error {
	return c.p.do("Counter.AddTarget", c.name, []string{counterID}, func() error {
		return c.inner.AddTarget(ctx, counterID, reference, target)
	})
}

func (c *counter) State(ctx context.Context, counterID string) (driver.CounterState, error) {
	return c.inner.State(ctx, counterID)
}

type scheduler struct {
	p     *Provider
	inner driver.Scheduler
}

func (s *scheduler) Create(ctx context.Context, schedule driver.Schedule) error {
	return s.p.do("Scheduler.Create", "", []string{schedule.Name}, func() error { return s.inner.Create(ctx, schedule) })
}

func (s *scheduler) Delete(ctx context.Context, name string) error {
	return s.p.do("Scheduler.Delete", "", []string{name}, func() error { return s.inner.Delete(ctx, name) })
}

func (s *scheduler) List(ctx context.Context) ([]driver.Schedule, error) {
	return get(s.p, "Scheduler.List", "", nil, func() ([]driver.Schedule, error) { return s.inner.List(ctx) })
}

type bucket struct {
	p     *Provider
	name  string
	inner driver.Bucket
}

func (b *bucket) Put(ctx context.Context, key string, body io.Reader) error {
	return b.p.do("Bucket.Put", b.name, []string{key}, func() error { return b.inner.Put(ctx, key, body) })
}

func (b *bucket) Get(ctx context.Context, key string) (body io.ReadCloser, object driver.Object, err error) {
	err = b.p.do("Bucket.Get", b.name, []string{key}, func() (err error) {
		body, object, err = b.inner.Get(ctx, key)
		return err
	})
	return body, object, err
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	return b.p.do("Bucket.Delete", b.name, []string{key}, func() error { return b.inner.Delete(ctx, key) })
}

func (b *bucket) List(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	return get(b.p, "Bucket.List", b.name, nil, func() ([]driver.Object, error) { return b.inner.List(ctx, prefix, after, limit) })
}

type deadLetters struct {
	driver.DeadLetters
	p *Provider
}

func (d *deadLetters) Park(ctx context.Context, letter driver.DeadLetter) error {
	return d.p.do("DeadLetters.Park", letter.Component, []string{letter.ID}, func() error { return d.DeadLetters.Park(ctx, letter) })
}

func (d *deadLetters) Remove(ctx context.Context, id string) error {
	return d.p.do("DeadLetters.Remove", "", []string{id}, func() error { return d.DeadLetters.Remove(ctx, id) })
}

type outcomes struct {
	p     *Provider
	inner driver.Outcomes
}

func (o *outcomes) Put(ctx context.Context, outcome driver.Outcome, expires time.Time) error {
	return o.p.do("Outcomes.Put", "", []string{outcome.CommandID}, func() error { return o.inner.Put(ctx, outcome, expires) })
}

func (o *outcomes) Get(ctx context.Context, commandID string) (driver.Outcome, error) {
	return get(o.p, "Outcomes.Get", "", []string{commandID}, func() (driver.Outcome, error) { return o.inner.Get(ctx, commandID) })
}
