package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math"
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

// commitColumns are the columns of a commit, in the order of record.
const commitColumns = "stream, seq, at, crc, head, events, snapshot, state, log, slot"

// feedColumns are those of a commit without its snapshot.
const feedColumns = "stream, seq, at, crc, head, events, NULL, NULL, log, slot"

// record is a stored commit with its checksums: of the commit in the lower half, and
// of the snapshot in the upper half.
type record struct {
	driver.StoredCommit

	log, slot, at, crc int64
	// bare is set if the snapshot was not read.
	bare bool
}

// encode returns the record of a commit that passed [driver.CheckCommit].
func encode(log int64, c driver.Commit, at time.Time) (record, error) {
	stored, err := driver.StoreCommit(c)
	if err != nil {
		return record{}, err
	}
	r := record{StoredCommit: stored, log: log, slot: slot(c.Stream), at: nanos(at)}
	body := r.bodySum()
	r.crc = body | r.snapshotSum(body)<<32
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

func (r *record) bodySum() int64 {
	return fieldsOf(tagCommit).
		int(r.log).text(r.Stream).int(int64(r.SequenceNr)).int(r.slot).int(r.at).text(r.Head).text(r.Events).sum()
}

// snapshotSum returns the checksum of the snapshot, which includes that of its commit; 0 if
// there is no snapshot.
func (r *record) snapshotSum(body int64) int64 {
	if r.Snapshot == "" {
		return 0
	}
	return fieldsOf(tagCommit).int(body).text(r.Snapshot).text(r.State).sum() >> 1 // a number that is not negative
}

// commitRecord reads commitColumns.
func commitRecord(row []sqldriver.Value) record {
	r := record{at: number(row[2]), crc: number(row[3]), log: number(row[8]), slot: number(row[9])}
	r.Stream, r.SequenceNr, r.Head, r.Events = text(row[0]), uint64(number(row[1])), text(row[4]), text(row[5])
	if row[6] != nil {
		r.Snapshot, r.State = text(row[6]), text(row[7])
	}
	return r
}

// feedRecord reads feedColumns.
func feedRecord(row []sqldriver.Value) record {
	r := commitRecord(row)
	r.bare = true
	return r
}

// decode returns the commit, with its snapshot if the record has one.
func (r *record) decode(log string) (driver.Commit, error) {
	body := r.bodySum()
	if body != r.crc&lowerHalf {
		return driver.Commit{}, damagedCommit("commits", log, r.Stream, r.SequenceNr, errChecksum)
	}
	c, err := r.Commit()
	if err != nil {
		return driver.Commit{}, nameLog(err, log)
	}
	c.RecordedAt, c.SnapshotErr = fromNanos(r.at), nameLog(c.SnapshotErr, log)
	if !r.bare && r.snapshotSum(body) != r.crc>>32 {
		c.Snapshot, c.SnapshotErr = nil, damagedCommit("snapshots", log, r.Stream, r.SequenceNr, errChecksum)
	}
	return c, nil
}

func damagedCommit(table, log, stream string, sequenceNr uint64, cause error) error {
	return &driver.DamageError{Table: table, Name: log, Key: stream, SequenceNr: sequenceNr, Cause: cause}
}

// nameLog completes the place in an error of [driver.StoredCommit].
func nameLog(err error, log string) error {
	var d *driver.DamageError
	if errors.As(err, &d) {
		d.Name = log
	}
	return err
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
	r, err := encode(l.id, c, l.p.now())
	if err != nil {
		return err
	}
	if size := r.Size(); size > l.p.limits.MaxCommitBytes {
		return &driver.TooLargeError{What: "commit", Size: size, Limit: l.p.limits.MaxCommitBytes}
	}
	args := []any{l.id, r.Stream, int64(r.SequenceNr), r.slot, r.at, r.crc, r.Head, r.Events, nil, nil}
	if r.Snapshot != "" {
		args[8], args[9] = r.Snapshot, r.State
	}
	return l.p.write(ctx, func(t *tx) error {
		changed, pos, err := t.exec(`INSERT INTO commits (log, stream, seq, slot, at, crc, head, events, snapshot, state)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, args...)
		if err != nil {
			return err
		}
		if changed == 0 {
			return l.conflict(t, r.Stream, int64(r.SequenceNr))
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
		return damagedCommit("commits", l.name, stream, uint64(seq), errors.New("the commit exists only in the index"))
	}
	return &driver.ConflictError{Winner: winner}
}

// Read implements [driver.EventLog].
func (l *eventLog) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		if through == 0 || through > math.MaxInt64 {
			through = math.MaxInt64
		}
		last := min(after, math.MaxInt64)
		for {
			var page []driver.Commit
			whole := true
			err := l.p.call(ctx, func() error {
				return l.p.read(ctx, func(c *conn) error {
					size := 0
					return c.query("SELECT "+commitColumns+" FROM commits WHERE log = ? AND stream = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT 256",
						[]any{l.id, stream, int64(last), int64(through)}, func(row []sqldriver.Value) error {
							r := commitRecord(row)
							if r.SequenceNr != last+1 {
								return damagedCommit("commits", l.name, stream, last+1, fmt.Errorf("commit %d follows commit %d", r.SequenceNr, last))
							}
							c, err := r.decode(l.name)
							if err != nil {
								return err
							}
							last = r.SequenceNr
							page = append(page, c)
							if size += r.Size(); size > pageBytes || len(page) == 256 {
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

// Load implements [driver.EventLog]. If the newest snapshot is usable, it is one query.
func (l *eventLog) Load(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
	var commits []driver.Commit
	err := l.p.call(ctx, func() error {
		return l.p.read(ctx, func(c *conn) (err error) {
			for before, done := int64(math.MaxInt64), false; !done && err == nil; {
				commits, done, err = l.load(c, stream, before, usable)
				if !done && err == nil { // the snapshot is not usable: try the one before
					before = int64(commits[0].SequenceNr)
				}
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("eventlog: load %q: %w", short(stream), err)
	}
	return commits, nil
}

// load reads the commits from the newest snapshot before a sequence number on. done is
// false if that snapshot is not usable; then only its commit was read.
func (l *eventLog) load(c *conn, stream string, before int64, usable func(driver.SnapshotHead) bool) (commits []driver.Commit, done bool, err error) {
	done = true
	err = c.query("SELECT "+commitColumns+` FROM commits WHERE log = ?1 AND stream = ?2 AND seq >= ifnull(
		(SELECT max(seq) FROM commits INDEXED BY commits_snapshot WHERE log = ?1 AND stream = ?2 AND seq < ?3 AND snapshot NOTNULL), 0) ORDER BY seq`,
		[]any{l.id, stream, before}, func(row []sqldriver.Value) error {
			r := commitRecord(row)
			c, err := r.decode(l.name)
			if err != nil {
				return err
			}
			n := len(commits)
			commits = append(commits, c)
			switch {
			case n > 0 && c.SequenceNr != commits[n-1].SequenceNr+1, n == 0 && c.SequenceNr != 1 && c.Snapshot == nil && c.SnapshotErr == nil:
				return damagedCommit("commits", l.name, stream, c.SequenceNr, errors.New("a commit before it is missing"))
			case n == 0 && c.SequenceNr != 1 && (c.Snapshot == nil || !usable(c.Snapshot.SnapshotHead)):
				done = false
				return errStop
			}
			return nil
		})
	return commits, done, err
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
			var page []scanned
			err := l.p.call(ctx, func() (err error) {
				page, last, err = l.scan(ctx, segment, segments, last, end)
				return err
			})
			for _, s := range page {
				if !yield(s.commit, s.damage) {
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

// scanned is a commit, or its damage.
type scanned struct {
	commit driver.Commit
	damage error
}

// scan reads the page after position last and returns the last position read.
func (l *eventLog) scan(ctx context.Context, segment, segments int, last, end int64) (page []scanned, reached int64, err error) {
	err = l.p.read(ctx, func(c *conn) error {
		size := 0
		reached = end
		return c.query("SELECT "+commitColumns+", pos FROM commits WHERE log = ? AND pos > ? AND pos <= ? AND slot % ? = ? ORDER BY pos LIMIT 256",
			[]any{l.id, last, end, int64(segments), int64(segment)}, func(row []sqldriver.Value) error {
				r := commitRecord(row)
				c, err := r.decode(l.name)
				if err != nil && !errors.Is(err, driver.ErrDamaged) {
					return err
				}
				page = append(page, scanned{c, err})
				if size += r.Size(); size > pageBytes || len(page) == 256 {
					reached = number(row[10])
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
