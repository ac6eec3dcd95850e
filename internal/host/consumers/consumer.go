// Package consumers applies the commits of a log to a component: projections to a read
// model, the reactions of an automation, extension or side effect, and the relay from a
// log to its topic.
package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

const (
	// readBatch is the maximum number of commits that one read of a stream returns.
	readBatch = 1024
	// maxRaces is the maximum number of attempts at a stream in one call if other workers
	// keep moving its watermark.
	maxRaces = 10
	// everything is beyond the last sequence number of any stream.
	everything = ^uint64(0)
)

// ErrBlocked reports that a commit of a stream is parked. The stream waits until an
// operator redrives or discards that commit.
var ErrBlocked = errors.New("the stream is blocked by a parked commit")

// Spec describes a consumer.
type Spec struct {
	Core *core.Core
	// Name is the name of the component. Log is the name of the log that Reader reads.
	Name, Log string
	Reader    driver.EventLog
	// Sources are the component's sources that are in this log.
	Sources []component.SourceLog
	// Topic is true if the consumer reads the topic of the log instead of its change
	// feed.
	Topic bool
	// Applied is called when more commits of a stream may have been applied.
	Applied func(driver.StreamKey)
}

// Consumer applies the commits of one log to one component: each once and in the order
// of its stream, whatever the transport repeats, reorders or drops.
type Consumer struct {
	Spec
	// Collector receives the records in a host that pulls them.
	Collector driver.Receiver[driver.Record]

	watermarks driver.Watermarks
	applier    applier
	shadow     bool // it fills rows that are not served

	// paused is true while the rows can only be read.
	paused atomic.Bool

	// applying serialises the work of this consumer in this process. Across processes,
	// conditional updates of the watermarks detect concurrent work.
	applying sync.Mutex
	mu       sync.Mutex
	failures map[string]failure // by stream, of the commit after its watermark
}

// failure counts the failed attempts at a commit.
type failure struct {
	attempts int // all of them
	counted  int // those that the commit itself caused to fail
	overtime int // those that missed their deadline
}

// applier applies commits to a component.
type applier interface {
	// apply applies spans of different streams and moves their watermarks. It sets
	// applied and err of each span. A [driver.ErrConflict] means that another worker
	// moved the watermark.
	apply(ctx context.Context, spans []*span)
}

// span is the next commits of one stream.
type span struct {
	stream  driver.StreamKey
	from    uint64 // the watermark before apply
	commits []driver.Commit
	applied uint64 // the watermark after apply
	err     error  // why commits after applied were not applied
}

func (s *span) last() uint64 { return s.commits[len(s.commits)-1].SequenceNr }

// failedAt returns when the commit after the span's watermark was recorded, or zero if
// that is unknown.
func (s *span) failedAt() time.Time {
	for _, c := range s.commits {
		if c.SequenceNr == s.applied+1 {
			return c.RecordedAt
		}
	}
	return time.Time{}
}

// HandlePulled is [Consumer.HandleRecords] for a host that pulls. After an error, all
// deliveries are retried.
func (c *Consumer) HandlePulled(ctx context.Context, deliveries []driver.Delivery[driver.Record]) []driver.Settlement {
	settlements, err := c.HandleRecords(ctx, deliveries)
	if err != nil {
		for _, d := range deliveries {
			settlements = append(settlements, driver.Settlement{ID: d.ID, Retry: true, After: c.Core.Backoff(d.Attempt)})
		}
		if core.CutShort(ctx, err) { // the host stops
			return settlements
		}
		c.Core.Log.Warn("records are retried", "component", c.Name, "log", c.Log, "error", core.ForLog(err))
	}
	return settlements
}

// Hold keeps this process from applying commits until release is called.
func (c *Consumer) Hold() (release func()) {
	c.applying.Lock()
	return c.applying.Unlock
}

// SetPaused pauses or resumes the consumer. While it is paused, it settles records without
// applying them; a Replay applies them later.
func (c *Consumer) SetPaused(paused bool) {
	defer c.Hold()()
	c.paused.Store(paused)
}

// HandleRecords applies records and settles each delivery. After an error, no delivery
// is settled.
func (c *Consumer) HandleRecords(ctx context.Context, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	var order []driver.StreamKey
	records := map[driver.StreamKey][]driver.Record{}
	ends := map[string]end{}
	for _, d := range deliveries {
		if core.Undecodable(d.Message) {
			continue
		}
		key := driver.StreamKey{Log: c.Log, Stream: d.Message.Stream}
		if records[key] == nil {
			order = append(order, key)
			ends[key.Stream] = end{applied: everything} // unless a span says otherwise: applied earlier, or blocked
		}
		records[key] = append(records[key], d.Message)
	}
	// Waiters are notified even after an error: a step that failed may have taken effect,
	// another host may have applied the commits, and a blocked stream ends their wait.
	defer c.notify(order...)
	c.applying.Lock()
	var spans []*span
	var err error
	if !c.paused.Load() {
		err = core.Apart(func() (err error) {
			spans, err = c.applyRecords(ctx, order, records)
			return err
		})
	}
	c.applying.Unlock()
	if err != nil {
		return nil, err
	}
	parkCtx, cancel := core.WithGrace(ctx)
	defer cancel()
	for _, s := range spans {
		if ends[s.stream.Stream], err = c.endOf(ctx, parkCtx, s); err != nil {
			return nil, err
		}
	}
	settlements := core.InOrder(deliveries, func(r driver.Record) string { return r.Stream }, func(d driver.Delivery[driver.Record]) driver.Settlement {
		s := driver.Settlement{ID: d.ID}
		switch at := ends[d.Message.Stream]; {
		case err != nil:
		case core.Undecodable(d.Message):
			err = c.Core.ParkUndecodable(ctx, c.Name, c.Name, c.Log, d)
		case d.Message.SequenceNr > at.applied:
			s.Retry, s.After = true, at.after
		}
		return s
	})
	if err != nil {
		return nil, err
	}
	return settlements, nil
}

// CatchUp applies the commits of a stream after its watermark.
func (c *Consumer) CatchUp(ctx context.Context, stream string) error {
	for {
		w, err := c.watermarks.Watermark(ctx, driver.StreamKey{Log: c.Log, Stream: stream})
		if err != nil {
			return err
		}
		if w.Blocked {
			return ErrBlocked
		}
		commits, err := c.read(ctx, stream, w.SequenceNr, everything)
		if err != nil || len(commits) == 0 || c.paused.Load() {
			return err
		}
		settlements, err := c.HandleRecords(ctx, c.deliveries(commits))
		if err != nil {
			return err
		}
		if last := settlements[len(settlements)-1]; last.Retry && !core.Pause(ctx, last.After) {
			return fmt.Errorf("commits up to %d could not be applied: %w", commits[len(commits)-1].SequenceNr, driver.ErrUnavailable)
		}
	}
}

// deliveries wraps commits of the log as records. A commit without events stands for one
// that cannot be read.
func (c *Consumer) deliveries(commits []driver.Commit) []driver.Delivery[driver.Record] {
	out := make([]driver.Delivery[driver.Record], len(commits))
	for i := range commits {
		commit := &commits[i]
		content := commit
		if len(commit.Events) == 0 {
			content = nil
		}
		out[i] = driver.Delivery[driver.Record]{
			ID: core.EventID(c.Log, commit.Stream, commit.SequenceNr, 0), Attempt: 1,
			Message: driver.Record{Log: c.Log, Stream: commit.Stream, SequenceNr: commit.SequenceNr, Commit: content},
		}
	}
	return out
}

// notify wakes the waiters of streams whose watermarks may have moved.
func (c *Consumer) notify(streams ...driver.StreamKey) {
	for _, s := range streams {
		c.Applied(s)
	}
}

// end says how the records of a stream are settled: those up to applied are
// acknowledged, later ones are retried after a pause.
type end struct {
	applied uint64
	after   time.Duration
}

// endOf decides how the records of a span are settled. A failed commit is retried up to
// its last attempt, then parked; parkCtx is the context for parking.
func (c *Consumer) endOf(ctx, parkCtx context.Context, s *span) (end, error) {
	c.Core.ReportDamage(s.err)
	at := end{applied: s.applied}
	failed, newer := c.countFailure(ctx, s)
	switch {
	case s.err == nil, core.CutShort(ctx, s.err): // if ctx has ended, commits may be left even without an error
		return at, nil
	case newer, core.Transient(s.err), errors.Is(s.err, errWatermark), !c.Core.LastAttempt(failed.counted, failed.overtime):
		c.Core.Stats.Retries.Add(1)
		c.Core.Log.Warn("commit is retried", "component", c.Name, "log", c.Log, "stream", s.stream.Stream, "sequenceNr", s.applied+1, "attempt", failed.attempts, "error", core.ForLog(s.err))
		at.after = c.Core.Backoff(failed.attempts)
		return at, nil
	}
	switch err := c.park(parkCtx, s, failed.attempts); {
	case errors.Is(err, driver.ErrConflict):
		return at, nil // another worker moved the watermark; the retry reads it
	case err != nil:
		return end{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failures, s.stream.Stream)
	return end{applied: everything}, nil
}

// countFailure counts the failure of a span. newer reports whether the commit may come
// from newer code.
func (c *Consumer) countFailure(ctx context.Context, s *span) (f failure, newer bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := s.stream.Stream
	if s.err == nil || s.applied > s.from {
		delete(c.failures, key)
	}
	if s.err == nil || core.CutShort(ctx, s.err) {
		return f, false
	}
	newer = c.Core.FromNewerCode(s.err, s.failedAt())
	f = c.failures[key]
	if f.attempts++; !core.Transient(s.err) && !newer {
		f.counted++
	}
	if errors.Is(s.err, core.ErrOvertime) {
		f.overtime++
	}
	c.failures[key] = f
	return f, newer
}

// applyRecords applies each stream at least up to its last record. It returns the last
// span of each stream that had commits to apply.
func (c *Consumer) applyRecords(ctx context.Context, order []driver.StreamKey, records map[driver.StreamKey][]driver.Record) ([]*span, error) {
	ended := map[driver.StreamKey]*span{}
	for attempt := 1; len(order) > 0; attempt++ {
		spans, err := c.nextSpans(ctx, order, records, ended)
		if err != nil {
			return nil, err
		}
		if len(spans) == 0 {
			break
		}
		c.applier.apply(ctx, spans)
		order = nil
		for _, s := range spans {
			ended[s.stream] = s
			unfinished := s.err == nil && lastOf(records[s.stream]) > s.applied
			raced := errors.Is(s.err, driver.ErrConflict) && attempt < maxRaces
			if (unfinished || raced) && ctx.Err() == nil {
				order = append(order, s.stream)
			}
		}
	}
	return slices.Collect(maps.Values(ended)), nil
}

// nextSpans returns the next span of each stream that is not blocked and has commits to
// apply. A stream that cannot be read is added to ended.
func (c *Consumer) nextSpans(ctx context.Context, order []driver.StreamKey, records map[driver.StreamKey][]driver.Record, ended map[driver.StreamKey]*span) ([]*span, error) {
	watermarks, damaged, err := c.readWatermarks(ctx, order)
	if err != nil {
		return nil, fmt.Errorf("watermarks of %s: %w", c.Name, err)
	}
	var spans []*span
	for _, key := range order {
		delete(ended, key)
		if err := damaged[key]; err != nil {
			ended[key] = &span{stream: key, err: fmt.Errorf("%w: %w", errWatermark, err)}
			continue
		}
		w := watermarks[key]
		if w.Blocked || lastOf(records[key]) <= w.SequenceNr {
			continue
		}
		s, err := c.next(ctx, key, w.SequenceNr, records[key])
		if err != nil {
			return nil, err
		}
		if s.err != nil {
			ended[key] = s
		} else {
			spans = append(spans, s)
		}
	}
	return spans, nil
}

// errWatermark reports that the watermark of a stream cannot be read. The stream can then
// be neither applied nor blocked: its records are retried until an operator acts.
var errWatermark = errors.New("watermark")

// readWatermarks returns the watermarks of streams. Damaged ones have an error each, so
// that the others go on.
func (c *Consumer) readWatermarks(ctx context.Context, streams []driver.StreamKey) (found map[driver.StreamKey]driver.Watermark, damaged map[driver.StreamKey]error, err error) {
	found, err = c.watermarks.Watermarks(ctx, streams)
	if !errors.Is(err, driver.ErrDamaged) {
		return found, nil, err
	}
	found, damaged = map[driver.StreamKey]driver.Watermark{}, map[driver.StreamKey]error{}
	for _, s := range streams {
		switch w, err := c.watermarks.Watermark(ctx, s); {
		case errors.Is(err, driver.ErrDamaged):
			damaged[s] = err
		case err != nil:
			return nil, nil, err
		default:
			found[s] = w
		}
	}
	return found, damaged, nil
}

func lastOf(records []driver.Record) uint64 {
	var last uint64
	for _, r := range records {
		last = max(last, r.SequenceNr)
	}
	return last
}

// next returns the commits after the watermark up to the last record: from the records
// if they contain all of these commits, otherwise from the log.
func (c *Consumer) next(ctx context.Context, key driver.StreamKey, watermark uint64, records []driver.Record) (*span, error) {
	last := lastOf(records)
	s := &span{stream: key, from: watermark, applied: watermark}
	slices.SortStableFunc(records, func(a, b driver.Record) int { return cmp.Compare(a.SequenceNr, b.SequenceNr) })
	for _, r := range records {
		if r.SequenceNr == watermark+uint64(len(s.commits))+1 {
			if r.Commit == nil {
				break
			}
			s.commits = append(s.commits, *r.Commit)
		}
	}
	if len(s.commits) > 0 && s.last() == last {
		return s, nil
	}
	s.commits, s.err = c.read(ctx, key.Stream, watermark, last)
	switch {
	case s.err != nil && core.Transient(s.err):
		return nil, s.err
	case s.err == nil && len(s.commits) == 0:
		s.err = fmt.Errorf("record %s/%s/%d is not in the log: %w", c.Log, key.Stream, last, driver.ErrNotFound)
	}
	return s, nil // an error that is not transient concerns only this stream
}

// read reads the commits of a stream after a sequence number, up to last. It returns at
// most readBatch of them, and those before a damaged one. It returns the error only if
// the first is damaged.
func (c *Consumer) read(ctx context.Context, stream string, after, last uint64) ([]driver.Commit, error) {
	var commits []driver.Commit
	for commit, err := range c.Reader.Read(ctx, stream, after, min(last, after+readBatch)) {
		if errors.Is(err, driver.ErrDamaged) && len(commits) > 0 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s/%s after %d: %w", c.Log, stream, after, core.StoreError(err))
		}
		if commits = append(commits, commit); commit.SequenceNr >= last || len(commits) == readBatch {
			break
		}
	}
	return commits, nil
}

// events returns the events of a commit as a component receives them: each with its id
// and the metadata of the command that caused it.
func (c *Consumer) events(commit *driver.Commit) []component.Event {
	out := make([]component.Event, len(commit.Events))
	answer, left := 0, 0
	if len(commit.Commands) > 0 {
		left = commit.Commands[0].EventCount
	}
	for i, e := range commit.Events {
		for left == 0 && answer+1 < len(commit.Commands) {
			answer++
			left = commit.Commands[answer].EventCount
		}
		left--
		var meta driver.Meta
		if len(commit.Commands) > 0 {
			meta = commit.Commands[answer].Meta
		}
		at := meta.Time
		if at.IsZero() {
			at = commit.RecordedAt
		}
		out[i] = component.Event{
			Log: c.Log, Stream: commit.Stream, SequenceNr: commit.SequenceNr, Index: i, RecordedAt: commit.RecordedAt,
			Meta:  meta.Derive(core.EventID(c.Log, commit.Stream, commit.SequenceNr, i), c.Log, at),
			Event: e,
		}
	}
	return out
}

// mapped returns the public events to which an extension point maps an event.
func mapped(src component.SourceLog, e component.Event) ([]component.Event, error) {
	events, err := src.Map(e)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", e.Meta.ID, err)
	}
	return events, nil
}
