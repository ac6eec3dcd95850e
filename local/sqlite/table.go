package sqlite

import (
	"bytes"
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// table is the state that all drivers of one read model share.
type table struct {
	p          *Provider
	name       string
	id         int64
	watermarks watermarks
	hub        *hub
	shadow     *table // nil in a shadow

	altering sync.Mutex
	spec     storedSpec // equal to the one in the database

	// readable has the complete indexes.
	readable atomic.Pointer[shape]
	// Only the writer uses these: the indexes that it maintains, and whether the
	// table may have rows that expire.
	writing  *shape
	expiring bool
}

// storedSpec is the stored JSON of a table's spec and the state of its indexes.
type storedSpec struct {
	SubID   string        `json:"subId"`
	Indexes []storedIndex `json:"indexes"`
	Dropped []int64       `json:"dropped,omitempty"` // indexes whose entries still have to be removed
}

type storedIndex struct {
	driver.Index
	// ID identifies the index in the table entries. It is never reused.
	ID int64 `json:"id"`
	// Building is true while entries of older rows may be missing.
	Building bool `json:"building,omitempty"`
}

// shape is a spec with the ids of its indexes.
type shape struct {
	driver.TableSpec
	ids []int64
}

// shapeOf returns the shape of a stored spec. It includes incomplete indexes only
// if building is set.
func (t *table) shapeOf(spec storedSpec, building bool) *shape {
	s := &shape{TableSpec: driver.TableSpec{Name: t.name, SubID: spec.SubID}}
	for _, i := range spec.Indexes {
		if building || !i.Building {
			s.Indexes = append(s.Indexes, i.Index)
			s.ids = append(s.ids, i.ID)
		}
	}
	return s
}

// table returns the table of a read model and creates it if needed.
func (p *Provider) table(ctx context.Context, spec driver.TableSpec) (*table, error) {
	if err := rows.CheckSpec(spec); err != nil {
		return nil, err
	}
	return share(p, kindTable, spec.Name, func() (*table, error) {
		id, err := p.intern(ctx, kindTable, spec.Name)
		if err != nil {
			return nil, err
		}
		consumer, err := p.intern(ctx, kindWatermarks, "readmodel "+spec.Name)
		if err != nil {
			return nil, err
		}
		t := &table{p: p, name: spec.Name, id: id, watermarks: watermarks{p, consumer}, hub: newHub()}
		if t.shadow, err = p.newShadow(ctx, spec.Name); err != nil {
			return nil, err
		}
		found := false
		if err := p.read(ctx, func(c *conn) (err error) {
			found, err = c.first("SELECT spec, crc FROM tables WHERE id = ?", []any{id}, func(row []sqldriver.Value) error {
				if tableSum(id, text(row[0])) != number(row[1]) {
					return damage("tables", spec.Name, "", "%w", errChecksum)
				}
				if err := json.Unmarshal([]byte(text(row[0])), &t.spec); err != nil {
					return damage("tables", spec.Name, "", "the spec: %w", err)
				}
				return nil
			})
			return err
		}); err != nil {
			return nil, err
		}
		// The writer's fields are set in the writer's goroutine.
		if err := p.write(ctx, func(x *tx) error {
			expiring, err := x.integer("SELECT EXISTS (SELECT 1 FROM rows WHERE tbl = ? AND purge > 0)", id)
			writing := t.shapeOf(t.spec, true)
			x.after(func() { t.expiring, t.writing = expiring != 0, writing })
			return err
		}); err != nil {
			return nil, err
		}
		t.readable.Store(t.shapeOf(t.spec, false))
		if found {
			spec = t.shapeOf(t.spec, true).TableSpec // finishes an interrupted change
		}
		return t, t.alter(ctx, spec)
	})
}

// alter changes the table to spec. Existing rows that do not fit a new index are
// omitted from it. Rows keep their sub id field until a [driver.Shadow] is swapped.
func (t *table) alter(ctx context.Context, spec driver.TableSpec) error {
	t.altering.Lock()
	defer t.altering.Unlock()
	// A write that has begun is finished, so that t.spec equals the stored one.
	caller := ctx
	ctx = context.WithoutCancel(ctx)
	t.shadow.readable.Store(&shape{TableSpec: driver.TableSpec{Name: t.name, SubID: spec.SubID, Indexes: cloneIndexes(spec.Indexes)}})
	next := storedSpec{SubID: spec.SubID, Dropped: slices.Clone(t.spec.Dropped)}
	for _, index := range cloneIndexes(spec.Indexes) {
		kept := storedIndex{Index: index, Building: true}
		for _, old := range t.spec.Indexes {
			if old.Name == index.Name && old.Key == index.Key && reflect.DeepEqual(old.Sort, index.Sort) {
				kept.ID, kept.Building = old.ID, old.Building
			}
		}
		next.Indexes = append(next.Indexes, kept)
	}
	for _, old := range t.spec.Indexes {
		if !slices.ContainsFunc(next.Indexes, func(i storedIndex) bool { return i.ID == old.ID }) {
			next.Dropped = append(next.Dropped, old.ID)
		}
	}
	if !reflect.DeepEqual(next, t.spec) {
		if err := t.change(ctx, next); err != nil {
			return err
		}
	}
	for slices.ContainsFunc(t.spec.Indexes, func(i storedIndex) bool { return i.Building }) {
		if err := t.buildIndexes(ctx); err != nil {
			return err
		}
	}
	for len(t.spec.Dropped) > 0 && caller.Err() == nil { // the next call removes the rest
		if err := t.dropIndex(ctx); err != nil {
			return err
		}
	}
	t.readable.Store(t.shapeOf(t.spec, false))
	return nil
}

func cloneIndexes(indexes []driver.Index) []driver.Index {
	out := slices.Clone(indexes)
	for i := range out {
		out[i].Include = slices.Clone(out[i].Include)
		if s := out[i].Sort; s != nil {
			field := *s
			out[i].Sort = &field
		}
	}
	return out
}

// change stores a spec. From then on the writer maintains its indexes.
func (t *table) change(ctx context.Context, next storedSpec) error {
	old := t.spec.SubID
	var changed storedSpec
	err := t.p.write(ctx, func(x *tx) error {
		subID := next.SubID
		if next.SubID != old {
			occupied, err := x.integer("SELECT EXISTS (SELECT 1 FROM rows WHERE tbl = ? AND (expires = 0 OR expires > ?))", t.id, t.p.now().Unix())
			if err != nil {
				return err
			}
			if occupied != 0 {
				subID = old
			}
		}
		changed = storedSpec{SubID: subID, Indexes: slices.Clone(next.Indexes), Dropped: next.Dropped}
		for i := range changed.Indexes {
			if changed.Indexes[i].ID == 0 {
				id, err := x.next()
				if err != nil {
					return err
				}
				changed.Indexes[i].ID = id
			}
		}
		return t.store(x, changed)
	})
	if err != nil {
		return fmt.Errorf("read model %q: change the spec: %w", t.name, err)
	}
	t.spec = changed
	return nil
}

func (t *table) store(x *tx, spec storedSpec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	writing := t.shapeOf(spec, true)
	x.after(func() { t.writing = writing })
	_, _, err = x.exec("INSERT INTO tables (id, spec, crc) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET spec = excluded.spec, crc = excluded.crc",
		t.id, string(data), tableSum(t.id, string(data)))
	return err
}

// buildIndexes adds the existing rows to the incomplete indexes.
func (t *table) buildIndexes(ctx context.Context) error {
	shape := &shape{TableSpec: driver.TableSpec{Name: t.name}}
	for _, i := range t.spec.Indexes {
		if i.Building {
			shape.Indexes = append(shape.Indexes, i.Index)
			shape.ids = append(shape.ids, i.ID)
		}
	}
	after := driver.Key{}
	for {
		var page []stored
		err := t.p.writeWhole(ctx, func(x *tx) (err error) {
			if page, err = t.page(x.conn, after, rowsPerRequest); err != nil {
				return err
			}
			for _, r := range page {
				if r.damage != nil {
					return r.damage
				}
				for i, e := range shape.entries(r.data) {
					if e == nil {
						continue
					}
					if err := t.addEntry(x, shape.ids[i], *e, r.key, r.n); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read model %q: build indexes: %w", t.name, err)
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].key
	}
	done := storedSpec{SubID: t.spec.SubID, Indexes: slices.Clone(t.spec.Indexes), Dropped: t.spec.Dropped}
	for i := range done.Indexes {
		done.Indexes[i].Building = false
	}
	if err := t.p.write(ctx, func(x *tx) error { return t.store(x, done) }); err != nil {
		return err
	}
	t.spec = done
	return nil
}

// dropIndex removes the entries of a dropped index.
func (t *table) dropIndex(ctx context.Context) error {
	index := t.spec.Dropped[0]
	for more := true; more; {
		err := t.p.write(ctx, func(x *tx) error {
			removed, _, err := x.exec(`DELETE FROM entries WHERE idx = ?1 AND (key, sort, id, sub) IN
				(SELECT key, sort, id, sub FROM entries WHERE idx = ?1 LIMIT 1000)`, index)
			more = removed > 0
			return err
		})
		if err != nil {
			return fmt.Errorf("read model %q: drop an index: %w", t.name, err)
		}
	}
	done := storedSpec{SubID: t.spec.SubID, Indexes: t.spec.Indexes, Dropped: t.spec.Dropped[1:]}
	if err := t.p.write(ctx, func(x *tx) error { return t.store(x, done) }); err != nil {
		return err
	}
	t.spec = done
	return nil
}

// entry is the stored entry of a row in an index. In an index without a sort
// field, sort is the empty string, which no sort field has as its value.
type entry struct{ key, sort any }

// entries returns the row's entry in each index; nil means that it has none.
func (s *shape) entries(data string) []*entry {
	if len(s.Indexes) == 0 {
		return nil
	}
	fields, err := rows.Fields([]byte(data))
	if err != nil {
		fields = nil // impossible: the data was checked
	}
	return s.entriesOf(fields)
}

// entriesOf returns the index entries of a row with these fields.
func (s *shape) entriesOf(fields map[string]json.RawMessage) []*entry {
	out := make([]*entry, len(s.Indexes))
	for i, index := range s.Indexes {
		// A row that does not fit the index is older than the index: it is omitted.
		if e, in, err := rows.IndexEntry(index, fields); in && err == nil {
			out[i] = &entry{key: e.Key, sort: e.Sort}
			if e.Sort == nil {
				out[i].sort = ""
			}
		}
	}
	return out
}

// stored is a stored row.
type stored struct {
	n        int64 // 0: there is no row
	key      driver.Key
	revision int64
	deadline int64
	data     string
	damage   error // why the other fields cannot be relied on
}

const rowColumns = "n, id, sub, rev, expires, data, crc"

// stored reads rowColumns.
func (t *table) stored(row []sqldriver.Value) stored {
	r := stored{
		n: number(row[0]), key: driver.Key{ID: text(row[1]), Sub: text(row[2])},
		revision: number(row[3]), deadline: number(row[4]), data: text(row[5]),
	}
	r.damage = t.verify(r, number(row[6]))
	return r
}

// verify compares a row with its checksum, apart from the time of its removal.
func (t *table) verify(r stored, crc int64) error {
	if rowBodySum(t.id, r.key.ID, r.key.Sub, r.revision, r.deadline, r.data) != crc&lowerHalf {
		return damage("rows", t.name, r.key.String(), "%w", errChecksum)
	}
	return nil
}

// alive reports whether the row exists and has not expired.
func (r stored) alive(now time.Time) bool { return r.n != 0 && !rows.Expired(r.deadline, now) }

func (r stored) row() driver.Row {
	return driver.Row{Key: r.key, Data: json.RawMessage(r.data), ExpiresAt: rows.ExpiresAt(r.deadline), Revision: uint64(r.revision)}
}

// get returns the row of a key, even if it has expired or is damaged.
func (t *table) get(c *conn, key driver.Key) (r stored, err error) {
	_, err = c.first("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND id = ? AND sub = ?", []any{t.id, key.ID, key.Sub},
		func(row []sqldriver.Value) error {
			r = t.stored(row)
			return nil
		})
	return r, err
}

// load returns the row of a key, even if it has expired; ok is false if it is absent. It
// selects only the columns that it needs, because each one costs time.
func (t *table) load(c *conn, key driver.Key) (row driver.Row, ok bool, err error) {
	_, err = c.first("SELECT rev, expires, data, crc FROM rows WHERE tbl = ? AND id = ? AND sub = ?", []any{t.id, key.ID, key.Sub},
		func(v []sqldriver.Value) error {
			r := stored{key: key, revision: number(v[0]), deadline: number(v[1]), data: text(v[2])}
			row, ok = r.row(), true
			return t.verify(r, number(v[3]))
		})
	return row, ok, err
}

// page returns the rows after a key, ordered by key, expired and damaged ones included.
func (t *table) page(c *conn, after driver.Key, limit int) (page []stored, err error) {
	size := 0
	err = c.query("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND (id, sub) > (?, ?) ORDER BY id, sub LIMIT ?", []any{t.id, after.ID, after.Sub, int64(limit)},
		func(row []sqldriver.Value) error {
			r := t.stored(row)
			page = append(page, r)
			if size += len(r.data); size > pageBytes {
				return errStop
			}
			return nil
		})
	return page, err
}

// draft is a checked row to be written, with its entries in the indexes of a
// shape.
type draft struct {
	key      driver.Key
	data     string
	deadline int64
	shape    *shape
	entries  []*entry
	silent   bool // the row has expired: readers do not see that it is written
}

// draft checks a row and returns its draft.
func (t *table) draft(row driver.Row) (draft, error) {
	s := t.readable.Load()
	fields, err := rows.Check(s.TableSpec, row, t.p.limits.MaxRowBytes)
	if err != nil {
		return draft{}, err
	}
	d := draft{key: row.Key, data: string(row.Data), deadline: rows.Deadline(row.ExpiresAt), shape: s}
	d.entries = s.entriesOf(fields)
	return d, nil
}

// blind reports whether rows can be written without reading the old ones.
func (t *table) blind() bool { return len(t.writing.Indexes) == 0 && !t.hub.listening() }

// put replaces old, the result of get.
func (t *table) put(x *tx, d draft, old stored, now time.Time) error {
	revision, err := x.next()
	if err != nil {
		return err
	}
	t.noteExpiry(x, d)
	if old.damage != nil { // the new row does not depend on it: a write that does is guarded
		if err := t.removeDamaged(x, old.n); err != nil {
			return err
		}
		old = stored{}
	}
	n, purge := old.n, rows.Purge(d.deadline, now)
	crc := rowSum(t.id, d.key.ID, d.key.Sub, revision, d.deadline, d.data, purge)
	if n != 0 {
		_, _, err = x.exec("UPDATE rows SET rev = ?, expires = ?, purge = ?, data = ?, crc = ? WHERE n = ?", revision, d.deadline, purge, d.data, crc, n)
	} else {
		_, n, err = x.exec("INSERT INTO rows (tbl, id, sub, rev, expires, purge, data, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			t.id, d.key.ID, d.key.Sub, revision, d.deadline, purge, d.data, crc)
	}
	if err != nil {
		return err
	}
	var before []*entry
	if old.n != 0 {
		before = t.writing.entries(old.data)
	}
	if err := t.updateEntries(x, before, t.entriesOf(d), d.key, n); err != nil {
		return err
	}
	if t.hub.listening() && !d.silent {
		kind := driver.Added
		if old.alive(now) {
			kind = driver.Updated
		}
		t.publish(x, driver.StateChange{Kind: kind, ID: d.key.ID, SubID: d.key.Sub, Revision: uint64(revision), Row: json.RawMessage(d.data)})
	}
	return nil
}

// putBlind is put for a table for which blind is true.
func (t *table) putBlind(x *tx, d draft) error {
	revision, err := x.next()
	if err != nil {
		return err
	}
	t.noteExpiry(x, d)
	purge := rows.Purge(d.deadline, t.p.now())
	_, _, err = x.exec(`INSERT INTO rows (tbl, id, sub, rev, expires, purge, data, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (tbl, id, sub) DO UPDATE SET rev = excluded.rev, expires = excluded.expires, purge = excluded.purge, data = excluded.data, crc = excluded.crc`,
		t.id, d.key.ID, d.key.Sub, revision, d.deadline, purge, d.data, rowSum(t.id, d.key.ID, d.key.Sub, revision, d.deadline, d.data, purge))
	return err
}

// noteExpiry makes the writer sweep the table if the row expires.
func (t *table) noteExpiry(x *tx, d draft) {
	if d.deadline != 0 && !t.expiring {
		x.after(func() { t.expiring = true })
	}
}

// entriesOf returns the draft's entries in the indexes that the writer maintains.
func (t *table) entriesOf(d draft) []*entry {
	if d.shape != t.writing && !slices.Equal(d.shape.ids, t.writing.ids) {
		return t.writing.entries(d.data) // the spec has changed since the check
	}
	return d.entries
}

// remove removes old, the result of get.
func (t *table) remove(x *tx, old stored, now time.Time) error {
	if old.n == 0 {
		return nil
	}
	if old.damage != nil {
		return t.removeDamaged(x, old.n)
	}
	if _, _, err := x.exec("DELETE FROM rows WHERE n = ?", old.n); err != nil {
		return err
	}
	if err := t.updateEntries(x, t.writing.entries(old.data), nil, old.key, old.n); err != nil {
		return err
	}
	if old.alive(now) && t.hub.listening() {
		// A removal is a write: its revision is greater than the row's last one.
		revision, err := x.next()
		if err != nil {
			return err
		}
		t.publish(x, driver.StateChange{Kind: driver.Removed, ID: old.key.ID, SubID: old.key.Sub, Revision: uint64(revision), Row: json.RawMessage(old.data)})
	}
	return nil
}

// removeDamaged removes a row and its index entries, which its data does not name. It
// publishes nothing, since it is not known what readers saw.
func (t *table) removeDamaged(x *tx, n int64) error {
	for _, index := range t.writing.ids {
		if _, _, err := x.exec("DELETE FROM entries WHERE idx = ? AND n = ?", index, n); err != nil {
			return err
		}
	}
	_, _, err := x.exec("DELETE FROM rows WHERE n = ?", n)
	return err
}

func (t *table) publish(x *tx, change driver.StateChange) {
	change.ReadModel = t.name
	x.after(func() { t.hub.publish(change) })
}

// updateEntries replaces the index entries of a row.
func (t *table) updateEntries(x *tx, before, after []*entry, key driver.Key, n int64) error {
	for i, index := range t.writing.ids {
		var from, to *entry
		if before != nil {
			from = before[i]
		}
		if after != nil {
			to = after[i]
		}
		if from != nil && to != nil && *from == *to {
			continue
		}
		if from != nil {
			if _, _, err := x.exec("DELETE FROM entries WHERE idx = ? AND key = ? AND sort = ? AND id = ? AND sub = ?", index, from.key, from.sort, key.ID, key.Sub); err != nil {
				return err
			}
		}
		if to != nil {
			if err := t.addEntry(x, index, *to, key, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *table) addEntry(x *tx, index int64, e entry, key driver.Key, n int64) error {
	_, _, err := x.exec("INSERT INTO entries (idx, key, sort, id, sub, n, crc) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n, crc = excluded.crc",
		index, e.key, e.sort, key.ID, key.Sub, n, entrySum(index, e.key, e.sort, key.ID, key.Sub, n))
	return err
}

// sweep removes a few rows whose grace is over, without publishing their removal.
func (t *table) sweep(x *tx, now time.Time) error {
	if !t.expiring {
		return nil
	}
	var expired []stored
	err := x.query("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND purge > 0 AND purge <= ? LIMIT 16", []any{t.id, now.Unix()},
		func(row []sqldriver.Value) error {
			if r := t.stored(row); r.damage == nil && rows.Expired(r.deadline, now) {
				expired = append(expired, r) // a damaged row stays, so that it is found
			}
			return nil
		})
	if err != nil {
		return err
	}
	for _, r := range expired {
		if err := t.remove(x, r, now); err != nil {
			return err
		}
	}
	return nil
}

// hub publishes changes to the subscribers of a table's state topic.
type hub struct {
	mu sync.Mutex
	// count is len(subscribers), readable without the lock.
	count       atomic.Int32
	subscribers map[*subscriber]struct{}
}

func newHub() *hub { return &hub{subscribers: map[*subscriber]struct{}{}} }

func (h *hub) listening() bool { return h.count.Load() > 0 }

const (
	// subscriberChanges and subscriberBytes bound the queued changes of a subscriber.
	subscriberChanges = 4096
	subscriberBytes   = 16 << 20
)

// subscriber is one subscription with the changes that it has not consumed yet.
type subscriber struct {
	wake chan struct{} // has one element after a change was queued

	mu    sync.Mutex
	queue []driver.StateChange
	bytes int
	lost  bool
}

func (h *hub) add() *subscriber {
	s := &subscriber{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers[s] = struct{}{}
	h.count.Store(int32(len(h.subscribers)))
	return s
}

func (h *hub) remove(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers, s)
	h.count.Store(int32(len(h.subscribers)))
}

// publish queues a change for all subscribers without waiting for them.
func (h *hub) publish(change driver.StateChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		s.push(change)
	}
}

func (s *subscriber) push(change driver.StateChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= subscriberChanges || s.bytes > subscriberBytes {
		s.lost = true
	}
	if s.lost {
		s.queue = nil
	} else {
		s.queue = append(s.queue, change)
		s.bytes += len(change.Row)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pop removes the next change from the queue. Each subscriber gets its own copy of
// the row.
func (s *subscriber) pop() (change driver.StateChange, ok, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost || len(s.queue) == 0 {
		return change, false, s.lost
	}
	change = s.queue[0]
	s.queue[0] = driver.StateChange{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil // releases the memory of a long queue
	}
	s.bytes -= len(change.Row)
	change.Row = bytes.Clone(change.Row)
	return change, true, false
}
