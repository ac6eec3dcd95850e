package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// eventLog is a log in the table commits.
type eventLog struct {
	p    *Provider
	name string
	id   int64
	// head is at least the position of the newest durable commit.
	head     atomic.Int64
	receiver string
}

var _ driver.EventLog = (*eventLog)(nil)

// OpenEventLog implements [driver.Provider].
func (p *Provider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	l, err := p.eventLog(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("eventlog: open %q: %w", name, err)
	}
	return l, nil
}

func (p *Provider) eventLog(ctx context.Context, name string) (*eventLog, error) {
	return share(p, kindLog, name, func() (*eventLog, error) {
		id, err := p.intern(ctx, kindLog, name)
		if err != nil {
			return nil, err
		}
		l := &eventLog{p: p, name: name, id: id, receiver: driver.ReceiverOf("EventCollector", name)}
		return l, p.read(ctx, func(c *conn) error {
			head, err := c.integer("SELECT max(pos) FROM commits WHERE log = ?", id)
			l.head.Store(head)
			return err
		})
	})
}

// The columns of a commit, in the order of record.
const (
	bodyColumns   = "stream, seq, at, crc, head, events"
	commitColumns = bodyColumns + ", fold, state, recent"
)

// record is a stored commit. events is the payloads of the events, unchanged and
// concatenated; head has their sizes.
type record struct {
	stream        string
	seq, at, crc  int64
	head, events  string
	snapshot      bool
	fold          int64
	state, recent string
}

// commitHead is the JSON of a record's head.
type commitHead struct {
	Events   []eventHead              `json:"events"`
	Commands []driver.AnsweredCommand `json:"commands"`
}

type eventHead struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	Size    int    `json:"size"`
}

// encode returns the record of a commit that passed [driver.CheckCommit].
func encode(c driver.Commit, at time.Time) (record, error) {
	head := commitHead{Events: make([]eventHead, len(c.Events)), Commands: c.Commands}
	size := 0
	for i, e := range c.Events {
		head.Events[i] = eventHead{e.Type, e.Version, len(e.Data)}
		size += len(e.Data)
	}
	bad := func(err error) (record, error) {
		return record{}, fmt.Errorf("commit %d of %q: %w: %w", c.SequenceNr, c.Stream, driver.ErrInvalid, err)
	}
	text, err := json.Marshal(head)
	if err != nil {
		return bad(err)
	}
	var events strings.Builder
	events.Grow(size)
	for _, e := range c.Events {
		events.Write(e.Data)
	}
	r := record{stream: c.Stream, seq: int64(c.SequenceNr), at: nanos(at), head: string(text), events: events.String()}
	if s := c.Snapshot; s != nil {
		recent, err := json.Marshal(s.Recent)
		if err != nil {
			return bad(err)
		}
		r.snapshot, r.fold, r.state, r.recent = true, int64(s.StateVersion), string(s.State), string(recent)
	}
	r.crc = r.sum()
	return r, nil
}

// nanos converts a time for storage; the zero time becomes the smallest number.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns the checksum of the body in the lower half and that of the snapshot
// in the upper half.
func (r *record) sum() int64 {
	return int64(r.bodySum()) | int64(r.snapshotSum())<<32
}

func (r *record) bodySum() uint32 {
	var b [8*2 + 4]byte
	sum := crc32.Update(0, castagnoli, fmt.Appendf(b[:0], "%d %d ", r.seq, r.at))
	for _, s := range []string{r.stream, r.head, r.events} {
		sum = crc32.Update(sum, castagnoli, []byte(s))
	}
	return sum
}

func (r *record) snapshotSum() uint32 {
	if !r.snapshot {
		return 0
	}
	sum := crc32.Update(0, castagnoli, fmt.Appendf(nil, "%d ", r.fold))
	sum = crc32.Update(sum, castagnoli, []byte(r.state))
	return crc32.Update(sum, castagnoli, []byte(r.recent))
}

// bodyRecord reads bodyColumns.
func bodyRecord(row []sqldriver.Value) record {
	return record{
		stream: text(row[0]), seq: number(row[1]), at: number(row[2]), crc: number(row[3]), head: text(row[4]), events: text(row[5]),
	}
}

// commitRecord reads commitColumns.
func commitRecord(row []sqldriver.Value) record {
	r := bodyRecord(row)
	if row[6] != nil {
		r.snapshot, r.fold, r.state, r.recent = true, number(row[6]), text(row[7]), text(row[8])
	}
	return r
}

func (r *record) size() int {
	return len(r.stream) + len(r.head) + len(r.events) + len(r.state) + len(r.recent)
}

// decode returns the commit, with its snapshot if the record has one.
func (r *record) decode(log string) (driver.Commit, error) {
	bad := func(what string) (driver.Commit, error) {
		return driver.Commit{}, corrupt("commit %d of %q in log %q: %s", r.seq, r.stream, log, what)
	}
	if r.bodySum() != uint32(r.crc) {
		return bad("wrong checksum")
	}
	if r.snapshot && r.snapshotSum() != uint32(r.crc>>32) {
		return bad("wrong checksum of the snapshot")
	}
	var head commitHead
	if err := json.Unmarshal([]byte(r.head), &head); err != nil {
		return bad("invalid head")
	}
	c := driver.Commit{
		Stream: r.stream, SequenceNr: uint64(r.seq), Events: make([]driver.Event, len(head.Events)),
		Commands: head.Commands, RecordedAt: fromNanos(r.at),
	}
	data := []byte(r.events)
	for i, e := range head.Events {
		if e.Size > len(data) {
			return bad("incomplete events")
		}
		c.Events[i] = driver.Event{Type: e.Type, Version: e.Version, Data: data[:e.Size:e.Size]}
		data = data[e.Size:]
	}
	if r.snapshot {
		c.Snapshot = &driver.Snapshot{StateVersion: int(r.fold), State: json.RawMessage(r.state)}
		if err := json.Unmarshal([]byte(r.recent), &c.Snapshot.Recent); err != nil {
			return bad("invalid recent commands")
		}
	}
	return c, nil
}

// slot returns the hash that assigns a stream to a segment of a scan.
func slot(stream string) int64 { return int64(crc32.ChecksumIEEE([]byte(stream)) & 0xffff) }

// Append implements [driver.EventLog].
func (l *eventLog) Append(ctx context.Context, c driver.Commit) error {
	if err := l.p.enter(ctx); err != nil {
		return err
	}
	defer l.p.leave()
	if err := l.append(ctx, c); err != nil {
		return fmt.Errorf("eventlog: append %q at %d: %w", short(c.Stream), c.SequenceNr, err)
	}
	return nil
}

func (l *eventLog) append(ctx context.Context, c driver.Commit) error {
	if err := driver.CheckCommit(c); err != nil {
		return err
	}
	if c.SequenceNr > math.MaxInt64 {
		return fmt.Errorf("the sequence number is out of range: %w", driver.ErrInvalid)
	}
	r, err := encode(c, l.p.now())
	if err != nil {
		return err
	}
	if size := r.size(); size > l.p.limits.MaxCommitBytes {
		return &driver.TooLargeError{What: "commit", Size: size, Limit: l.p.limits.MaxCommitBytes}
	}
	args := []any{l.id, r.stream, r.seq, slot(r.stream), r.at, r.crc, r.head, r.events, nil, nil, nil}
	if r.snapshot {
		args[8], args[9], args[10] = r.fold, r.state, r.recent
	}
	return l.p.write(ctx, func(t *tx) error {
		changed, pos, err := t.exec(`INSERT INTO commits (log, stream, seq, slot, at, crc, head, events, fold, state, recent)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, args...)
		if err != nil {
			return err
		}
		if changed == 0 {
			return l.conflict(t, r.stream, r.seq)
		}
		t.after(func() { l.head.Store(pos) })
		t.notify(l.receiver)
		return nil
	})
}

func (l *eventLog) conflict(t *tx, stream string, seq int64) error {
	var winner driver.Commit
	found, err := t.first("SELECT "+commitColumns+" FROM commits WHERE log = ? AND stream = ? AND seq = ?", []any{l.id, stream, seq},
		func(row []sqldriver.Value) (err error) {
			r := commitRecord(row)
			winner, err = r.decode(l.name)
			return err
		})
	if err != nil {
		return err
	}
	if !found {
		return corrupt("log %q: commit %d of %q exists only in the index", l.name, seq, stream)
	}
	return &driver.ConflictError{Winner: winner}
}

// Read implements [driver.EventLog].
func (l *eventLog) Read(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		if after > math.MaxInt64 {
			after = math.MaxInt64
		}
		last := int64(after)
		for {
			var page []driver.Commit
			whole := true
			err := l.p.call(ctx, func() error {
				return l.p.read(ctx, func(c *conn) error {
					size := 0
					return c.query("SELECT "+commitColumns+" FROM commits WHERE log = ? AND stream = ? AND seq > ? ORDER BY seq LIMIT 256",
						[]any{l.id, stream, last}, func(row []sqldriver.Value) error {
							r := commitRecord(row)
							if r.seq != last+1 {
								return corrupt("log %q: stream %q has commit %d after %d", l.name, stream, r.seq, last)
							}
							c, err := r.decode(l.name)
							if err != nil {
								return err
							}
							last = r.seq
							page = append(page, c)
							if size += r.size(); size > pageBytes || len(page) == 256 {
								whole = false
								return errStop
							}
							return nil
						})
				})
			})
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
			if err != nil {
				yield(driver.Commit{}, fmt.Errorf("eventlog: read %q: %w", short(stream), err))
				return
			}
			if whole {
				return
			}
		}
	}
}

// Load implements [driver.EventLog].
func (l *eventLog) Load(ctx context.Context, stream string, stateVersion int) ([]driver.Commit, error) {
	var commits []driver.Commit
	err := l.p.call(ctx, func() error {
		return l.p.read(ctx, func(c *conn) error {
			return c.query("SELECT "+commitColumns+` FROM commits WHERE log = ?1 AND stream = ?2 AND seq >=
				ifnull((SELECT max(seq) FROM commits WHERE log = ?1 AND stream = ?2 AND fold = ?3), 0) ORDER BY seq`,
				[]any{l.id, stream, int64(stateVersion)}, func(row []sqldriver.Value) error {
					r := commitRecord(row)
					switch n := len(commits); {
					case n > 0 && r.seq != int64(commits[n-1].SequenceNr)+1,
						n == 0 && r.seq != 1 && !(r.snapshot && r.fold == int64(stateVersion)):
						return corrupt("log %q: stream %q has a gap before commit %d", l.name, stream, r.seq)
					}
					c, err := r.decode(l.name)
					commits = append(commits, c)
					return err
				})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("eventlog: load %q: %w", short(stream), err)
	}
	return commits, nil
}

// Scan implements [driver.EventLog].
func (l *eventLog) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		if segments < 1 || segment < 0 || segment >= segments {
			yield(driver.Commit{}, fmt.Errorf("eventlog: scan: segment %d of %d: %w", segment, segments, driver.ErrInvalid))
			return
		}
		end := l.head.Load() // a scan ends although other callers keep appending
		for last := int64(-1); last < end; {
			var page []driver.Commit
			err := l.p.call(ctx, func() (err error) {
				page, last, err = l.scan(ctx, segment, segments, last, end)
				return err
			})
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
			if err != nil {
				yield(driver.Commit{}, fmt.Errorf("eventlog: scan segment %d of %d: %w", segment, segments, err))
				return
			}
		}
	}
}

// scan reads the page after position last and returns the last position read.
func (l *eventLog) scan(ctx context.Context, segment, segments int, last, end int64) (page []driver.Commit, reached int64, err error) {
	err = l.p.read(ctx, func(c *conn) error {
		size := 0
		reached = end
		return c.query("SELECT "+commitColumns+", pos FROM commits WHERE log = ? AND pos > ? AND pos <= ? AND slot % ? = ? ORDER BY pos LIMIT 256",
			[]any{l.id, last, end, int64(segments), int64(segment)}, func(row []sqldriver.Value) error {
				r := commitRecord(row)
				c, err := r.decode(l.name)
				if err != nil {
					return err
				}
				page = append(page, c)
				if size += r.size(); size > pageBytes || len(page) == 256 {
					reached = number(row[9])
					return errStop
				}
				return nil
			})
	})
	return page, reached, err
}

// short truncates an id for an error text.
func short(id string) string {
	if len(id) > 64 {
		return id[:64] + "..."
	}
	return id
}
