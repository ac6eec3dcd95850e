package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

const (
	// recordBatch is how many records of a source are handled together.
	recordBatch = 256
	// catchUp bounds how many commits of one stream are read from the log at
	// once when records were missed.
	catchUp = 1024
)

// consumer applies the commits of one log to one component: each once, in the
// order of its stream, whatever the source repeats, reorders or drops.
type consumer struct {
	host       *Host
	name       string // of the component
	log        string
	reader     driver.EventLog
	topic      bool                           // it reads the log's topic
	collector  driver.Receiver[driver.Record] // of a host that pulls
	watermarks driver.Watermarks
	applier    applier

	// applying serialises work, redrive and rebuild of this consumer in this
	// process; between processes the watermarks decide.
	applying sync.Mutex
	mu       sync.Mutex
	failures map[string]failure // of the commit at which a stream is
}

// failure is how often a commit has failed: of all times, those that count, because
// the store was not at fault.
type failure struct{ times, counted, late int }

// applier is what a consumer does with commits.
type applier interface {
	// apply handles spans, each the next commits of one stream, and moves their
	// watermarks. It returns how far each stream came and why one stopped; a
	// driver.ErrConflict says that a watermark had moved.
	apply(ctx context.Context, spans []*span)
}

// span is the next commits of one stream.
type span struct {
	stream  driver.StreamKey
	from    uint64 // the watermark
	commits []driver.Commit
	// applied is the watermark afterwards; err is why it is not the last commit.
	applied uint64
	err     error
}

// failedAt is when the commit was made at which the span ended; zero where it is not
// known.
func (s *span) failedAt() time.Time {
	for _, c := range s.commits {
		if c.SequenceNr == s.applied+1 {
			return c.RecordedAt
		}
	}
	return time.Time{}
}

func (s *span) last() uint64 { return s.commits[len(s.commits)-1].SequenceNr }

func (h *Host) addConsumer(ctx context.Context, name string, d *component.Definition, log string, topic bool) error {
	c := &consumer{host: h, name: name, log: log, topic: topic, reader: h.logs[log], failures: map[string]failure{}}
	var sources []component.SourceLog
	for _, s := range h.app.LogsOf(d) {
		if s.Log == log {
			sources = append(sources, s)
		}
	}
	if d.ReadModel != nil {
		r := h.readModels[name]
		c.watermarks, c.applier = r.db, &projector{consumer: c, rm: r, sources: sources}
	} else {
		var err error
		if c.watermarks, err = h.provider.OpenWatermarks(ctx, name); err != nil {
			return err
		}
		c.applier = &reactor{consumer: c, def: d, sources: sources}
	}
	h.consumers = append(h.consumers, c)
	return nil
}

// settleRecords applies records and says how each delivery is to be settled.
func (c *consumer) settleRecords(ctx context.Context, deliveries []driver.Delivery[driver.Record]) []driver.Settlement {
	settlements, err := c.HandleRecords(ctx, deliveries)
	if err != nil {
		for _, d := range deliveries {
			settlements = append(settlements, driver.Settlement{ID: d.ID, Retry: true, After: c.host.opts.Backoff(d.Attempt)})
		}
		c.host.log.Warn("records are tried again", "component", c.name, "log", c.log, "error", logged(err))
	}
	return settlements
}

// HandleRecords applies records and says how each delivery is to be settled. An
// error says that none was.
func (c *consumer) HandleRecords(ctx context.Context, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	var order []driver.StreamKey
	records := map[driver.StreamKey][]driver.Record{}
	for _, d := range deliveries {
		r := d.Message
		if undecodable(r) {
			continue
		}
		key := driver.StreamKey{Log: c.log, Stream: r.Stream}
		if records[key] == nil {
			order = append(order, key)
		}
		records[key] = append(records[key], r)
	}
	// Also what failed may have taken effect, or another host has done it, and for
	// a stream that is blocked now there is nothing to wait for.
	defer c.tell(order...)
	c.applying.Lock()
	spans, err := c.run(ctx, order, records)
	c.applying.Unlock()
	if err != nil {
		return nil, err
	}
	verdicts := map[string]verdict{}
	for key := range records {
		verdicts[key.Stream] = verdict{applied: ^uint64(0)} // nothing to do, or blocked
	}
	parting, cancel := outlasting(ctx)
	defer cancel()
	for _, s := range spans {
		v, err := c.judge(ctx, parting, s)
		if err != nil {
			return nil, err
		}
		verdicts[s.stream.Stream] = v
	}
	settlements := make([]driver.Settlement, 0, len(deliveries))
	retrying := map[string]bool{}
	for _, d := range deliveries {
		r := d.Message
		v, ok := verdicts[r.Stream]
		s := driver.Settlement{ID: d.ID}
		switch {
		case retrying[r.Stream]:
			// A transport that keeps order takes a group back from a message on: also
			// what is done, such as an earlier commit that was repeated later, and
			// what is not decodable but for its stream.
			s.Retry, s.After = true, v.after
		case undecodable(r):
			if err := c.parkRaw(ctx, d); err != nil {
				return nil, err
			}
		case !ok:
			return nil, fmt.Errorf("internal: record %s/%s/%d has no verdict", c.log, r.Stream, r.SequenceNr)
		case r.SequenceNr > v.applied:
			s.Retry, s.After, retrying[r.Stream] = true, v.after, true
		}
		settlements = append(settlements, s)
	}
	return settlements, nil
}

// catchUp applies what the log has of a stream behind its watermark.
func (c *consumer) catchUp(ctx context.Context, stream string) error {
	key := driver.StreamKey{Log: c.log, Stream: stream}
	for {
		w, err := c.watermarks.Watermark(ctx, key)
		if err != nil {
			return err
		}
		if w.Blocked {
			return ErrBlocked
		}
		last, found := w.SequenceNr, 0
		for commit, err := range c.reader.Read(ctx, stream, w.SequenceNr) {
			if err != nil {
				return err
			}
			last = commit.SequenceNr
			if found++; found == catchUp {
				break
			}
		}
		if found == 0 {
			return nil
		}
		settlements, err := c.HandleRecords(ctx, []driver.Delivery[driver.Record]{{
			ID: "caught up", Attempt: 1, Message: driver.Record{Log: c.log, Stream: stream, SequenceNr: last},
		}})
		switch {
		case err != nil:
			return err
		case settlements[0].Retry && !c.host.sleep(ctx, settlements[0].After):
			return fmt.Errorf("commits up to %d could not be applied: %w", last, driver.ErrUnavailable)
		}
	}
}

// tell wakes who waits for the component in streams.
func (c *consumer) tell(streams ...driver.StreamKey) {
	for _, s := range streams {
		c.host.applied.tell(appliedTo{c.name, s})
	}
}

// undecodable reports whether a record does not even say what it is about.
func undecodable(r driver.Record) bool { return r.Err != nil || r.Stream == "" || r.SequenceNr == 0 }

// cause is why a record is undecodable.
func cause(r driver.Record) error {
	if r.Err != nil {
		return r.Err
	}
	return fmt.Errorf("a record without stream or sequence number: %w", driver.ErrInvalid)
}

// verdict says up to which commit the records of a stream are done, and when
// the others are to come again.
type verdict struct {
	applied uint64
	after   time.Duration
}

// judge decides what a stream's end means for its records: a failure is tried
// again within bounds, then the commit is parked, within parting, and its stream
// waits.
func (c *consumer) judge(ctx, parting context.Context, s *span) (verdict, error) {
	all := verdict{applied: ^uint64(0)}
	key := s.stream.Stream
	c.mu.Lock()
	if s.err == nil || s.applied > s.from {
		delete(c.failures, key)
	}
	var failed failure
	newer := s.err != nil && c.host.Newer(s.err, s.failedAt())
	if s.err != nil && !done(ctx, s.err) {
		failed = c.failures[key]
		if failed.times++; !transient(s.err) && !newer {
			failed.counted++
		}
		if errors.Is(s.err, errLate) {
			failed.late++
		}
		c.failures[key] = failed
	}
	c.mu.Unlock()
	switch {
	case s.err == nil, done(ctx, s.err): // no error is all that was wanted, unless ctx ended between two steps
		return verdict{applied: s.applied}, nil
	case newer, transient(s.err), failed.counted < c.host.opts.MaxAttempts && failed.late < lateAttempts:
		c.host.stats.retried.Add(1)
		c.host.log.Warn("commit is tried again", "component", c.name, "log", c.log, "stream", key, "sequenceNr", s.applied+1, "attempt", failed.times, "error", logged(s.err))
		return verdict{applied: s.applied, after: c.host.opts.Backoff(failed.times)}, nil
	}
	err := c.parkCommit(parting, s, failed.times)
	if errors.Is(err, driver.ErrConflict) {
		return verdict{applied: s.applied}, nil // where the watermark is now will show when they come again
	}
	if err != nil {
		return verdict{}, err
	}
	c.mu.Lock()
	delete(c.failures, key)
	c.mu.Unlock()
	return all, nil
}

// run brings streams up to at least the given records.
func (c *consumer) run(ctx context.Context, order []driver.StreamKey, records map[driver.StreamKey][]driver.Record) ([]*span, error) {
	ended := map[driver.StreamKey]*span{}
	for attempt := 1; len(order) > 0; attempt++ {
		marks, err := c.watermarks.Watermarks(ctx, order)
		if err != nil {
			return nil, fmt.Errorf("watermarks of %s: %w", c.name, err)
		}
		var spans []*span
		for _, key := range order {
			delete(ended, key)
			w := marks[key]
			if w.Blocked {
				continue
			}
			s, err := c.next(ctx, key, w.SequenceNr, records[key])
			if err != nil {
				return nil, err
			}
			switch {
			case s == nil:
			case s.err != nil:
				ended[key] = s
			default:
				spans = append(spans, s)
			}
		}
		if len(spans) == 0 {
			break
		}
		c.applier.apply(ctx, spans)
		order = nil
		for _, s := range spans {
			ended[s.stream] = s
			again := s.err == nil && wanted(records[s.stream]) > s.applied
			if errors.Is(s.err, driver.ErrConflict) && attempt < 10 {
				again = true // somebody else moved the watermark: look where it is
			}
			if again && ctx.Err() == nil {
				order = append(order, s.stream)
			}
		}
	}
	out := make([]*span, 0, len(ended))
	for _, s := range ended {
		out = append(out, s)
	}
	return out, nil
}

func wanted(records []driver.Record) uint64 {
	var last uint64
	for _, r := range records {
		last = max(last, r.SequenceNr)
	}
	return last
}

// next returns the commits that follow the watermark, up to the last record:
// those that travelled along when they connect, else from the log. It is nil
// when everything was applied before.
func (c *consumer) next(ctx context.Context, key driver.StreamKey, mark uint64, records []driver.Record) (*span, error) {
	last := wanted(records)
	if last <= mark {
		return nil, nil
	}
	s := &span{stream: key, from: mark, applied: mark}
	slices.SortStableFunc(records, func(a, b driver.Record) int {
		return int(min(max(int64(a.SequenceNr)-int64(b.SequenceNr), -1), 1)) //nolint:gosec // sequence numbers are far below 2^63
	})
	for _, r := range records {
		if r.SequenceNr == mark+uint64(len(s.commits))+1 {
			if r.Commit == nil {
				break
			}
			s.commits = append(s.commits, *r.Commit)
		}
	}
	if len(s.commits) > 0 && s.last() == last {
		return s, nil
	}
	s.commits = nil
	for commit, err := range c.reader.Read(ctx, key.Stream, mark) {
		if err != nil {
			s.err = fmt.Errorf("read %s/%s after %d: %w", c.log, key.Stream, mark, storeError(err))
			if transient(s.err) {
				return nil, s.err
			}
			return s, nil // what is stored cannot be read: that is this stream's alone
		}
		s.commits = append(s.commits, commit)
		if commit.SequenceNr >= last || len(s.commits) == catchUp {
			break
		}
	}
	if len(s.commits) == 0 {
		s.err = fmt.Errorf("record %s/%s/%d is not in the log: %w", c.log, key.Stream, last, driver.ErrNotFound)
	}
	return s, nil
}

func letterID(consumer, log, stream string) string {
	return boundedID("commit/" + consumer + "/" + log + "/" + stream)
}

// parkCommit gives up on the commit at which a span ended, and blocks its
// stream. [driver.ErrConflict] when the stream has moved on meanwhile: then
// nothing is parked.
func (c *consumer) parkCommit(ctx context.Context, s *span, attempts int) error {
	letter := driver.DeadLetter{
		ID: letterID(c.name, c.log, s.stream.Stream), Component: c.name, Kind: driver.DeadCommit,
		Log: c.log, Stream: s.stream.Stream, SequenceNr: s.applied + 1, Attempts: attempts,
	}
	if err := c.host.park(ctx, letter, s.err); err != nil {
		return err
	}
	// The letter first: a crash between the two parks it once more, under the
	// same id.
	err := c.watermarks.Block(ctx, s.stream, s.applied)
	if err == nil {
		// Another worker may have taken it for its own, and away: see dropLetter.
		stored, err := c.host.letters.Get(ctx, letter.ID)
		if errors.Is(err, driver.ErrNotFound) || err == nil && stored.SequenceNr != letter.SequenceNr {
			return c.host.park(ctx, letter, s.err)
		}
		return err
	}
	err = fmt.Errorf("block %s/%s for %s: %w", c.log, s.stream.Stream, c.name, err)
	if !errors.Is(err, driver.ErrConflict) {
		return err
	}
	// Another host has applied the commit: it is not dead.
	stored, getErr := c.host.letters.Get(ctx, letter.ID)
	if getErr == nil && stored.SequenceNr == letter.SequenceNr {
		getErr = c.dropLetter(ctx, s.stream)
	}
	if getErr != nil && !errors.Is(getErr, driver.ErrNotFound) {
		return getErr
	}
	return err
}

// errOthers is the reason in a letter that stands in for another one.
var errOthers = errors.New("another worker gave this commit up; its reason is in its log")

// dropLetter removes the letter of a stream that went on. All letters of a stream
// have one id, so that of another worker, which parked a later commit meanwhile, may
// have gone with it: as long as a stream is blocked there is a letter.
func (c *consumer) dropLetter(ctx context.Context, stream driver.StreamKey) error {
	id := letterID(c.name, stream.Log, stream.Stream)
	if err := c.host.letters.Remove(ctx, id); err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	w, err := c.watermarks.Watermark(ctx, stream)
	if err != nil || !w.Blocked {
		return err
	}
	stored, err := c.host.letters.Get(ctx, id)
	if err == nil && stored.SequenceNr > w.SequenceNr || err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	return c.host.park(ctx, driver.DeadLetter{
		ID: id, Component: c.name, Kind: driver.DeadCommit, Log: stream.Log, Stream: stream.Stream, SequenceNr: w.SequenceNr + 1, Attempts: 1,
	}, errOthers)
}

func (c *consumer) parkRaw(ctx context.Context, d driver.Delivery[driver.Record]) error {
	return c.host.park(ctx, driver.DeadLetter{
		ID: "raw/" + c.name + "/" + c.log + "/" + digest(d.Message.Raw, d.ID), Component: c.name, Kind: driver.DeadRaw,
		Log: c.log, Stream: d.Message.Stream, SequenceNr: d.Message.SequenceNr, Body: d.Message.Raw, Attempts: d.Attempt,
	}, cause(d.Message))
}

// redrive unblocks the stream of a letter and applies all that waits, without
// the commit of the letter if that is to be skipped. As long as something waits
// there is a letter: that of a later commit which fails replaces this one.
func (c *consumer) redrive(ctx context.Context, l driver.DeadLetter, skip bool) error {
	key := driver.StreamKey{Log: c.log, Stream: l.Stream}
	c.applying.Lock()
	defer c.applying.Unlock()
	defer c.tell(key)
	if err := c.watermarks.Unblock(ctx, key); err != nil {
		return fmt.Errorf("unblock: %w", err)
	}
	block := func(at uint64) error { // also when the time is over: there is a letter
		ctx, cancel := outlasting(ctx)
		defer cancel()
		return c.watermarks.Block(ctx, key, at)
	}
	for {
		w, err := c.watermarks.Watermark(ctx, key)
		if err != nil {
			return err
		}
		if w.Blocked { // by another worker, with a letter of its own
			return nil
		}
		if skip && w.SequenceNr+1 == l.SequenceNr {
			err := c.watermarks.Advance(ctx, []driver.Advance{{StreamKey: key, From: w.SequenceNr, To: l.SequenceNr}})
			if err != nil && !errors.Is(err, driver.ErrConflict) {
				return errors.Join(err, block(w.SequenceNr))
			}
			continue
		}
		s := &span{stream: key, from: w.SequenceNr, applied: w.SequenceNr}
		for commit, err := range c.reader.Read(ctx, key.Stream, w.SequenceNr) {
			if err != nil {
				return errors.Join(err, block(w.SequenceNr))
			}
			if s.commits = append(s.commits, commit); len(s.commits) == catchUp {
				break
			}
		}
		if len(s.commits) == 0 {
			return c.dropLetter(ctx, key)
		}
		if c.applier.apply(ctx, []*span{s}); s.err == nil || errors.Is(s.err, driver.ErrConflict) {
			continue
		}
		if s.applied < l.SequenceNr {
			return errors.Join(s.err, block(s.applied))
		}
		// What the letter was about is done. Also a store that fails now is a
		// reason to park: the records of what waits were settled long ago.
		parting, cancel := outlasting(ctx)
		err = c.parkCommit(parting, s, 1)
		if cancel(); !errors.Is(err, driver.ErrConflict) {
			return err
		}
	}
}

// events turns a commit into the events that a component sees: with their ids
// and the meta of the command that each answers.
func (c *consumer) events(commit *driver.Commit) []component.Event {
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
			Log: c.log, Stream: commit.Stream, SequenceNr: commit.SequenceNr, Index: i, RecordedAt: commit.RecordedAt,
			Meta:  meta.Derive(EventID(c.log, commit.Stream, commit.SequenceNr, i), c.log, at),
			Event: e,
		}
	}
	return out
}

// EventID names an event: <log>/<stream>/<sequenceNr>.<index>.
func EventID(log, stream string, sequenceNr uint64, index int) string {
	return fmt.Sprintf("%s/%s/%d.%d", log, stream, sequenceNr, index)
}
