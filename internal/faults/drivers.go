package faults

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// EventLog is a [driver.EventLog] under the rules of its provider. As in all
// drivers of this package a test may replace the methods of what is wrapped by the
// function fields, see [Change].
type EventLog struct {
	driver.EventLog
	site
	OnAppend func(ctx context.Context, c driver.Commit) error
	OnLoad   func(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error)
	OnRead   func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error]
	OnScan   func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error]
	// OnCount is nil if the wrapped log is no [driver.CommitCounter].
	OnCount func(ctx context.Context) (int64, error)
}

// CountCommits implements [driver.CommitCounter].
func (l *EventLog) CountCommits(ctx context.Context) (int64, error) {
	if l.OnCount == nil {
		return 0, driver.ErrUnsupported
	}
	return get(l.site, "CountCommits", func() (int64, error) { return l.OnCount(ctx) })
}

// Append implements [driver.EventLog].
func (l *EventLog) Append(ctx context.Context, c driver.Commit) error {
	return l.do("Append", func() error { return l.OnAppend(ctx, c) }, c.Stream)
}

// Load implements [driver.EventLog].
func (l *EventLog) Load(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
	return get(l.site, "Load", func() ([]driver.Commit, error) {
		commits, err := l.OnLoad(ctx, stream, usable)
		l.p.read(l.name, len(commits))
		return commits, err
	}, stream)
}

// Read implements [driver.EventLog].
func (l *EventLog) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
	return l.sequence("Read", func() iter.Seq2[driver.Commit, error] { return l.OnRead(ctx, stream, after, through) }, stream)
}

// Scan implements [driver.EventLog].
func (l *EventLog) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return l.sequence("Scan", func() iter.Seq2[driver.Commit, error] { return l.OnScan(ctx, segment, segments) })
}

// sequence fails as a sequence does: after some elements, as the last one.
func (l *EventLog) sequence(method string, f func() iter.Seq2[driver.Commit, error], keys ...string) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		op := l.kind + "." + method
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

// CommandTopic is a [driver.CommandTopic] under the rules of its provider.
type CommandTopic struct {
	driver.CommandTopic
	site
	OnSend func(ctx context.Context, commands []driver.Command) error
}

// Send implements [driver.CommandTopic].
func (t *CommandTopic) Send(ctx context.Context, commands []driver.Command) error {
	return batch(t.site, "Send", commands,
		func(c driver.Command) string { return c.Entity }, func(c driver.Command) string { return c.Meta.ID },
		func(cs []driver.Command) error { return t.OnSend(ctx, cs) })
}

// EventTopic is a [driver.EventTopic] under the rules of its provider.
type EventTopic struct {
	driver.EventTopic
	site
	OnPublish func(ctx context.Context, envelopes []driver.Envelope) error
}

// Publish implements [driver.EventTopic].
func (t *EventTopic) Publish(ctx context.Context, envelopes []driver.Envelope) error {
	return batch(t.site, "Publish", envelopes,
		func(e driver.Envelope) string { return e.Commit.Stream }, driver.Envelope.Key,
		func(es []driver.Envelope) error { return t.OnPublish(ctx, es) })
}

// StreamWatermarks are [driver.Watermarks] under the rules of their provider, those
// of a consumer or of a read model.
type StreamWatermarks struct {
	Inner driver.Watermarks
	site
	OnWatermark  func(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error)
	OnWatermarks func(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error)
	OnAdvance    func(ctx context.Context, advances []driver.Advance) error
	OnBlock      func(ctx context.Context, stream driver.StreamKey, at uint64) error
	OnUnblock    func(ctx context.Context, stream driver.StreamKey) error
}

func newWatermarks(inner driver.Watermarks, at site) *StreamWatermarks {
	return opened(at.p, &StreamWatermarks{inner, at, inner.Watermark, inner.Watermarks, inner.Advance, inner.Block, inner.Unblock})
}

// Watermark implements [driver.Watermarks].
func (w *StreamWatermarks) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	return get(w.site, "Watermark", func() (driver.Watermark, error) { return w.OnWatermark(ctx, stream) }, stream.Stream)
}

// Watermarks implements [driver.Watermarks].
func (w *StreamWatermarks) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	keys := mapped(streams, func(s driver.StreamKey) string { return s.Stream })
	return get(w.site, "Watermarks", func() (map[driver.StreamKey]driver.Watermark, error) { return w.OnWatermarks(ctx, streams) }, keys...)
}

// Advance implements [driver.Watermarks].
func (w *StreamWatermarks) Advance(ctx context.Context, advances []driver.Advance) error {
	return w.do("Advance", func() error { return w.OnAdvance(ctx, advances) }, streamsOf(advances)...)
}

// Block implements [driver.Watermarks].
func (w *StreamWatermarks) Block(ctx context.Context, stream driver.StreamKey, at uint64) error {
	return w.do("Block", func() error { return w.OnBlock(ctx, stream, at) }, stream.Stream)
}

// Unblock implements [driver.Watermarks].
func (w *StreamWatermarks) Unblock(ctx context.Context, stream driver.StreamKey) error {
	return w.do("Unblock", func() error { return w.OnUnblock(ctx, stream) }, stream.Stream)
}

func streamsOf(advances []driver.Advance) []string {
	return mapped(advances, func(a driver.Advance) string { return a.Stream })
}

func mapped[T any](list []T, f func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// RowStore is a [driver.RowStore] under the rules of its provider.
type RowStore struct {
	*StreamWatermarks
	Inner      driver.RowStore
	OnLoad     func(ctx context.Context, id string) ([]driver.Row, error)
	OnLoadRow  func(ctx context.Context, key driver.Key) (driver.Row, error)
	OnLoadRows func(ctx context.Context, keys []driver.Key) ([]driver.Row, error)
	OnApply    func(ctx context.Context, step driver.Step) error
}

func newRowStore(inner driver.RowStore, at site) *RowStore {
	return opened(at.p, &RowStore{newWatermarks(inner, at), inner, inner.Load, inner.LoadRow, inner.LoadRows, inner.Apply})
}

// Load implements [driver.RowStore].
func (db *RowStore) Load(ctx context.Context, id string) ([]driver.Row, error) {
	return get(db.site, "Load", func() ([]driver.Row, error) { return db.OnLoad(ctx, id) }, id)
}

// LoadRow implements [driver.RowStore].
func (db *RowStore) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	return get(db.site, "LoadRow", func() (driver.Row, error) { return db.OnLoadRow(ctx, key) }, key.ID)
}

// LoadRows implements [driver.RowStore].
func (db *RowStore) LoadRows(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
	ids := mapped(keys, func(k driver.Key) string { return k.ID })
	return get(db.site, "LoadRows", func() ([]driver.Row, error) { return db.OnLoadRows(ctx, keys) }, ids...)
}

// Apply implements [driver.RowStore]; a call is about the streams that it advances.
func (db *RowStore) Apply(ctx context.Context, step driver.Step) error {
	return db.do("Apply", func() error { return db.OnApply(ctx, step) }, streamsOf(step.Advances)...)
}

// QueryDb is a [driver.QueryDb] under the rules of its provider.
type QueryDb struct {
	*RowStore
	Inner   driver.QueryDb
	Spec    driver.TableSpec
	OnClear func(ctx context.Context) error
}

// Clear implements [driver.QueryDb].
func (db *QueryDb) Clear(ctx context.Context) error {
	return db.do("Clear", func() error { return db.OnClear(ctx) })
}

// Shadow implements [driver.QueryDb].
func (db *QueryDb) Shadow() driver.Shadow {
	inner := db.Inner.Shadow()
	at := site{db.p, "Shadow", db.name}
	return opened(db.p, &Shadow{newRowStore(inner, at), inner, inner.Record, inner.SetRecord, inner.Swap, inner.Drop})
}

// Shadow is a [driver.Shadow] under the rules of its provider.
type Shadow struct {
	*RowStore
	Inner       driver.Shadow
	OnRecord    func(ctx context.Context) ([]byte, error)
	OnSetRecord func(ctx context.Context, record []byte) error
	OnSwap      func(ctx context.Context, record []byte, logs []string) (int, error)
	OnDrop      func(ctx context.Context) error
}

// Record implements [driver.Shadow].
func (s *Shadow) Record(ctx context.Context) ([]byte, error) {
	return get(s.site, "Record", func() ([]byte, error) { return s.OnRecord(ctx) })
}

// SetRecord implements [driver.Shadow].
func (s *Shadow) SetRecord(ctx context.Context, record []byte) error {
	return s.do("SetRecord", func() error { return s.OnSetRecord(ctx, record) })
}

// Swap implements [driver.Shadow].
func (s *Shadow) Swap(ctx context.Context, record []byte, logs []string) (int, error) {
	return get(s.site, "Swap", func() (int, error) { return s.OnSwap(ctx, record, logs) })
}

// Drop implements [driver.Shadow].
func (s *Shadow) Drop(ctx context.Context) error {
	return s.do("Drop", func() error { return s.OnDrop(ctx) })
}

// QueryEngine is a [driver.QueryEngine] under the rules of its provider.
type QueryEngine struct {
	driver.QueryEngine
	site
	Specs   []driver.TableSpec
	OnQuery func(ctx context.Context, q driver.Query) (driver.Page, error)
	OnScan  func(ctx context.Context, s driver.Scan) (driver.Page, error)
}

// Query implements [driver.QueryEngine].
func (e *QueryEngine) Query(ctx context.Context, q driver.Query) (driver.Page, error) {
	return get(e.site, "Query", func() (driver.Page, error) { return e.OnQuery(ctx, q) }, q.ReadModel)
}

// Scan implements [driver.QueryEngine].
func (e *QueryEngine) Scan(ctx context.Context, s driver.Scan) (driver.Page, error) {
	return get(e.site, "Scan", func() (driver.Page, error) { return e.OnScan(ctx, s) }, s.ReadModel)
}

// StateTopic is a [driver.StateTopic] under the rules of its provider.
type StateTopic struct {
	driver.StateTopic
	site
	Spec        driver.TableSpec
	OnSubscribe func(ctx context.Context) (iter.Seq2[driver.StateChange, error], error)
}

// Subscribe implements [driver.StateTopic].
func (t *StateTopic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	return get(t.site, "Subscribe", func() (iter.Seq2[driver.StateChange, error], error) { return t.OnSubscribe(ctx) })
}

// Counter is a [driver.Counter] under the rules of its provider.
type Counter struct {
	driver.Counter
	site
	OnCount     func(ctx context.Context, counterID, reference string, n int64) error
	OnAddTarget func(ctx context.Context, counterID, reference string, target int64) error
	OnState     func(ctx context.Context, counterID string) (driver.CounterState, error)
}

// Count implements [driver.Counter].
func (c *Counter) Count(ctx context.Context, counterID, reference string, n int64) error {
	return c.do("Count", func() error { return c.OnCount(ctx, counterID, reference, n) }, counterID)
}

// AddTarget implements [driver.Counter].
func (c *Counter) AddTarget(ctx context.Context, counterID, reference string, target int64) error {
	return c.do("AddTarget", func() error { return c.OnAddTarget(ctx, counterID, reference, target) }, counterID)
}

// State implements [driver.Counter].
func (c *Counter) State(ctx context.Context, counterID string) (driver.CounterState, error) {
	return get(c.site, "State", func() (driver.CounterState, error) { return c.OnState(ctx, counterID) }, counterID)
}

// Scheduler is a [driver.Scheduler] under the rules of its provider.
type Scheduler struct {
	driver.Scheduler
	site
	OnCreate func(ctx context.Context, s driver.Schedule) error
	OnDelete func(ctx context.Context, name string) error
	OnList   func(ctx context.Context) ([]driver.Schedule, error)
}

// Create implements [driver.Scheduler].
func (s *Scheduler) Create(ctx context.Context, schedule driver.Schedule) error {
	return s.do("Create", func() error { return s.OnCreate(ctx, schedule) }, schedule.Name)
}

// Delete implements [driver.Scheduler].
func (s *Scheduler) Delete(ctx context.Context, name string) error {
	return s.do("Delete", func() error { return s.OnDelete(ctx, name) }, name)
}

// List implements [driver.Scheduler].
func (s *Scheduler) List(ctx context.Context) ([]driver.Schedule, error) {
	return get(s.site, "List", func() ([]driver.Schedule, error) { return s.OnList(ctx) })
}

// Bucket is a [driver.Bucket] under the rules of its provider.
type Bucket struct {
	driver.Bucket
	site
	OnPut    func(ctx context.Context, key string, body io.Reader) error
	OnGet    func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error)
	OnDelete func(ctx context.Context, key string) error
	OnList   func(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error)
}

// Put implements [driver.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, body io.Reader) error {
	return b.do("Put", func() error { return b.OnPut(ctx, key, body) }, key)
}

// Get implements [driver.Bucket].
func (b *Bucket) Get(ctx context.Context, key string) (body io.ReadCloser, object driver.Object, err error) {
	err = b.do("Get", func() (err error) {
		body, object, err = b.OnGet(ctx, key)
		return err
	}, key)
	return body, object, err
}

// Delete implements [driver.Bucket].
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.do("Delete", func() error { return b.OnDelete(ctx, key) }, key)
}

// List implements [driver.Bucket].
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	return get(b.site, "List", func() ([]driver.Object, error) { return b.OnList(ctx, prefix, after, limit) })
}

// DeadLetters are [driver.DeadLetters] under the rules of their provider.
type DeadLetters struct {
	driver.DeadLetters
	site
	OnPark   func(ctx context.Context, letter driver.DeadLetter) error
	OnGet    func(ctx context.Context, id string) (driver.DeadLetter, error)
	OnList   func(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error)
	OnRemove func(ctx context.Context, id string) error
}

// Park implements [driver.DeadLetters]; the name of the call is the letter's component.
func (d *DeadLetters) Park(ctx context.Context, letter driver.DeadLetter) error {
	at := site{d.p, d.kind, letter.Component}
	return at.do("Park", func() error { return d.OnPark(ctx, letter) }, letter.ID)
}

// Get implements [driver.DeadLetters].
func (d *DeadLetters) Get(ctx context.Context, id string) (driver.DeadLetter, error) {
	return get(d.site, "Get", func() (driver.DeadLetter, error) { return d.OnGet(ctx, id) }, id)
}

// List implements [driver.DeadLetters].
func (d *DeadLetters) List(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	return get(d.site, "List", func() ([]driver.DeadLetter, error) { return d.OnList(ctx, component, after, limit) })
}

// Remove implements [driver.DeadLetters].
func (d *DeadLetters) Remove(ctx context.Context, id string) error {
	return d.do("Remove", func() error { return d.OnRemove(ctx, id) }, id)
}

// Outcomes are [driver.Outcomes] under the rules of their provider.
type Outcomes struct {
	driver.Outcomes
	site
	OnPut func(ctx context.Context, outcome driver.StoredOutcome, expires time.Time) error
	OnGet func(ctx context.Context, target, commandID string) (driver.StoredOutcome, error)
}

// Put implements [driver.Outcomes].
func (o *Outcomes) Put(ctx context.Context, outcome driver.StoredOutcome, expires time.Time) error {
	return o.do("Put", func() error { return o.OnPut(ctx, outcome, expires) }, outcome.CommandID)
}

// Get implements [driver.Outcomes].
func (o *Outcomes) Get(ctx context.Context, target, commandID string) (driver.StoredOutcome, error) {
	return get(o.site, "Get", func() (driver.StoredOutcome, error) { return o.OnGet(ctx, target, commandID) }, commandID)
}
