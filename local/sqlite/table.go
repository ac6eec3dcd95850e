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

// table is what the drivers of one read model share.
type table struct {
	p     *Provider
	name  string
	id    int64
	marks watermarks
	hub   *hub

	altering sync.Mutex
	form     form // as it is stored

	// readable has the indexes that are complete.
	readable atomic.Pointer[shape]
	// These belong to the writer: the indexes that it keeps up, and whether there
	// may be rows that expire.
	writing  *shape
	expiring bool
}

// form is the JSON of a table's spec, with the state of its indexes.
type form struct {
	SubID   string      `json:"subId"`
	Indexes []formIndex `json:"indexes"`
	Dropped []int64     `json:"dropped,omitempty"` // indexes whose entries are not removed yet
}

type formIndex struct {
	driver.Index
	// ID is the index's number in the table entries, never used again.
	ID int64 `json:"id"`
	// Building is true while entries of older rows may be missing.
	Building bool `json:"building,omitempty"`
}

// shape is a spec with the numbers of its indexes.
type shape struct {
	driver.TableSpec
	ids []int64
}

// shapeOf returns the shape of a form, with or without incomplete indexes.
func (t *table) shapeOf(f form, building bool) *shape {
	s := &shape{TableSpec: driver.TableSpec{Name: t.name, SubID: f.SubID}}
	for _, i := range f.Indexes {
		if building || !i.Building {
			s.Indexes = append(s.Indexes, i.Index)
			s.ids = append(s.ids, i.ID)
		}
	}
	return s
}

// table returns the table of a read model, made if it is new.
func (p *Provider) table(ctx context.Context, spec driver.TableSpec) (*table, error) {
	if err := rows.CheckSpec(spec); err != nil {
		return nil, err
	}
	return share(p, kindTable, spec.Name, func() (*table, error) {
		id, err := p.intern(ctx, kindTable, spec.Name)
		if err != nil {
			return nil, err
		}
		marks, err := p.intern(ctx, kindMarks, "readmodel "+spec.Name)
		if err != nil {
			return nil, err
		}
		t := &table{p: p, name: spec.Name, id: id, marks: watermarks{p, marks}, hub: newHub()}
		found := false
		if err := p.read(ctx, func(c *conn) (err error) {
			found, err = c.first("SELECT spec FROM tables WHERE id = ?", []any{id}, func(row []sqldriver.Value) error {
				if err := json.Unmarshal([]byte(text(row[0])), &t.form); err != nil {
					return corrupt("spec of read model %q: %v", spec.Name, err)
				}
				return nil
			})
			return err
		}); err != nil {
			return nil, err
		}
		// Hand the writer its part in its own goroutine.
		if err := p.write(ctx, func(x *tx) error {
			expiring, err := x.integer("SELECT EXISTS (SELECT 1 FROM rows WHERE tbl = ? AND expires > 0)", id)
			writing := t.shapeOf(t.form, true)
			x.after(func() { t.expiring, t.writing = expiring != 0, writing })
			return err
		}); err != nil {
			return nil, err
		}
		t.readable.Store(t.shapeOf(t.form, false))
		if found {
			spec = t.shapeOf(t.form, true).TableSpec // finish what was interrupted
		}
		return t, t.alter(ctx, spec)
	})
}

// alter brings a spec about. Older rows that do not fit a new index are left out
// of it. Only an empty table may change its sub id field.
func (t *table) alter(ctx context.Context, spec driver.TableSpec) error {
	t.altering.Lock()
	defer t.altering.Unlock()
	// A step that has begun is finished, so that form stays what is stored.
	caller := ctx
	ctx = context.WithoutCancel(ctx)
	next := form{SubID: spec.SubID, Dropped: slices.Clone(t.form.Dropped)}
	for _, index := range cloneIndexes(spec.Indexes) {
		kept := formIndex{Index: index, Building: true}
		for _, old := range t.form.Indexes {
			if old.Name == index.Name && old.Key == index.Key && reflect.DeepEqual(old.Sort, index.Sort) {
				kept.ID, kept.Building = old.ID, old.Building
			}
		}
		next.Indexes = append(next.Indexes, kept)
	}
	for _, old := range t.form.Indexes {
		if !slices.ContainsFunc(next.Indexes, func(i formIndex) bool { return i.ID == old.ID }) {
			next.Dropped = append(next.Dropped, old.ID)
		}
	}
	if !reflect.DeepEqual(next, t.form) {
		if err := t.reform(ctx, next); err != nil {
			return err
		}
	}
	for t.building() {
		if err := t.build(ctx); err != nil {
			return err
		}
	}
	for len(t.form.Dropped) > 0 && caller.Err() == nil { // what is left is done by the next
		if err := t.unbuild(ctx); err != nil {
			return err
		}
	}
	t.readable.Store(t.shapeOf(t.form, false))
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

func (t *table) building() bool {
	return slices.ContainsFunc(t.form.Indexes, func(i formIndex) bool { return i.Building })
}

// reform stores a form and has the writer keep up its indexes from then on.
func (t *table) reform(ctx context.Context, next form) error {
	had := t.form.SubID
	var stored form
	err := t.p.write(ctx, func(x *tx) error {
		if next.SubID != had {
			busy, err := x.integer("SELECT EXISTS (SELECT 1 FROM rows WHERE tbl = ? AND (expires = 0 OR expires > ?))", t.id, t.p.now().Unix())
			if err != nil {
				return err
			}
			if busy != 0 {
				return fmt.Errorf("sub id field %q with rows that have %q: %w", next.SubID, had, driver.ErrInvalid)
			}
		}
		f := form{SubID: next.SubID, Indexes: slices.Clone(next.Indexes), Dropped: next.Dropped}
		for i := range f.Indexes {
			if f.Indexes[i].ID == 0 {
				id, err := x.next()
				if err != nil {
					return err
				}
				f.Indexes[i].ID = id
			}
		}
		stored = f
		return t.store(x, f)
	})
	if err != nil {
		return fmt.Errorf("read model %q: change the spec: %w", t.name, err)
	}
	t.form = stored
	return nil
}

func (t *table) store(x *tx, f form) error {
	spec, err := json.Marshal(f)
	if err != nil {
		return err
	}
	writing := t.shapeOf(f, true)
	x.after(func() { t.writing = writing })
	_, _, err = x.exec("INSERT INTO tables (id, spec) VALUES (?, ?) ON CONFLICT DO UPDATE SET spec = excluded.spec", t.id, string(spec))
	return err
}

// build enters the rows into the indexes that are incomplete.
func (t *table) build(ctx context.Context) error {
	shape := &shape{TableSpec: driver.TableSpec{Name: t.name}}
	for _, i := range t.form.Indexes {
		if i.Building {
			shape.Indexes = append(shape.Indexes, i.Index)
			shape.ids = append(shape.ids, i.ID)
		}
	}
	after := driver.Key{}
	for {
		var page []stored
		err := t.p.writeWhole(ctx, func(x *tx) (err error) {
			if page, err = t.page(x.conn, after, batchChunk); err != nil {
				return err
			}
			for _, r := range page {
				for i, p := range shape.places(r.data) {
					if p == nil {
						continue
					}
					if err := t.enter(x, shape.ids[i], *p, r.key, r.n); err != nil {
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
	done := form{SubID: t.form.SubID, Indexes: slices.Clone(t.form.Indexes), Dropped: t.form.Dropped}
	for i := range done.Indexes {
		done.Indexes[i].Building = false
	}
	if err := t.p.write(ctx, func(x *tx) error { return t.store(x, done) }); err != nil {
		return err
	}
	t.form = done
	return nil
}

// unbuild removes the entries of an index that was dropped.
func (t *table) unbuild(ctx context.Context) error {
	index := t.form.Dropped[0]
	for more := true; more; {
		err := t.p.write(ctx, func(x *tx) error {
			gone, _, err := x.exec(`DELETE FROM entries WHERE idx = ?1 AND (key, sort, id, sub) IN
				(SELECT key, sort, id, sub FROM entries WHERE idx = ?1 LIMIT 1000)`, index)
			more = gone > 0
			return err
		})
		if err != nil {
			return fmt.Errorf("read model %q: drop an index: %w", t.name, err)
		}
	}
	done := form{SubID: t.form.SubID, Indexes: t.form.Indexes, Dropped: t.form.Dropped[1:]}
	if err := t.p.write(ctx, func(x *tx) error { return t.store(x, done) }); err != nil {
		return err
	}
	t.form = done
	return nil
}

// place is a row's place in an index, as it is stored. An index without a sort
// field has the empty string there, which is no value of a sort field.
type place struct{ key, sort any }

// places returns the row's places by index; nil where it is in none.
func (s *shape) places(data string) []*place {
	if len(s.Indexes) == 0 {
		return nil
	}
	fields, err := rows.Fields([]byte(data))
	if err != nil {
		fields = nil // cannot be: it was checked
	}
	return s.placesIn(fields)
}

// placesIn returns the places of a row with these fields.
func (s *shape) placesIn(fields map[string]json.RawMessage) []*place {
	out := make([]*place, len(s.Indexes))
	for i, index := range s.Indexes {
		// An error is a row that was there before the index: it is left out.
		if e, in, err := rows.IndexEntry(index, fields); in && err == nil {
			out[i] = &place{key: e.Key, sort: e.Sort}
			if e.Sort == nil {
				out[i].sort = ""
			}
		}
	}
	return out
}

// stored is a row as it is stored.
type stored struct {
	n        int64 // 0 is none
	key      driver.Key
	revision int64
	deadline int64
	data     string
}

const rowColumns = "n, id, sub, rev, expires, data"

func storedRow(row []sqldriver.Value) stored {
	return stored{
		n: number(row[0]), key: driver.Key{ID: text(row[1]), Sub: text(row[2])},
		revision: number(row[3]), deadline: number(row[4]), data: text(row[5]),
	}
}

// alive reports whether the row is there, for everybody but the store.
func (r stored) alive(now time.Time) bool { return r.n != 0 && !rows.Expired(r.deadline, now) }

func (r stored) row() driver.Row {
	return driver.Row{Key: r.key, Data: json.RawMessage(r.data), ExpiresAt: rows.ExpiresAt(r.deadline), Revision: uint64(r.revision)}
}

// get returns the row of a key, also one that has expired.
func (t *table) get(c *conn, key driver.Key) (r stored, err error) {
	_, err = c.first("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND id = ? AND sub = ?", []any{t.id, key.ID, key.Sub},
		func(row []sqldriver.Value) error {
			r = storedRow(row)
			return nil
		})
	return r, err
}

// load returns the row of a key to readers, and whether it is there at now. It
// asks for no more columns than it needs: each costs, also by its name.
func (t *table) load(c *conn, key driver.Key, now time.Time) (row driver.Row, ok bool, err error) {
	_, err = c.first("SELECT rev, expires, data FROM rows WHERE tbl = ? AND id = ? AND sub = ?", []any{t.id, key.ID, key.Sub},
		func(v []sqldriver.Value) error {
			if deadline := number(v[1]); !rows.Expired(deadline, now) {
				row, ok = stored{key: key, revision: number(v[0]), deadline: deadline, data: text(v[2])}.row(), true
			}
			return nil
		})
	return row, ok, err
}

// page returns rows in the order of their keys.
func (t *table) page(c *conn, after driver.Key, limit int) (page []stored, err error) {
	size := 0
	err = c.query("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND (id, sub) > (?, ?) ORDER BY id, sub LIMIT ?", []any{t.id, after.ID, after.Sub, int64(limit)},
		func(row []sqldriver.Value) error {
			r := storedRow(row)
			page = append(page, r)
			if size += len(r.data); size > pageBytes {
				return errStop
			}
			return nil
		})
	return page, err
}

// draft is a row to be written that was checked, with its places in the indexes
// of a shape.
type draft struct {
	key      driver.Key
	data     string
	deadline int64
	shape    *shape
	places   []*place
}

// draft checks a row.
func (t *table) draft(row driver.Row) (draft, error) {
	s := t.readable.Load()
	fields, err := rows.Check(s.TableSpec, row, t.p.limits.MaxRowBytes)
	if err != nil {
		return draft{}, err
	}
	d := draft{key: row.Key, data: string(row.Data), deadline: rows.Deadline(row.ExpiresAt), shape: s}
	d.places = s.placesIn(fields)
	return d, nil
}

// blind reports whether rows can be written without a look at what is there.
func (t *table) blind() bool { return len(t.writing.Indexes) == 0 && !t.hub.listening() }

// put writes a row over old, what get returned.
func (t *table) put(x *tx, d draft, old stored, now time.Time) error {
	revision, err := x.next()
	if err != nil {
		return err
	}
	t.expires(x, d)
	n := old.n
	if n != 0 {
		_, _, err = x.exec("UPDATE rows SET rev = ?, expires = ?, data = ? WHERE n = ?", revision, d.deadline, d.data, n)
	} else {
		_, n, err = x.exec("INSERT INTO rows (tbl, id, sub, rev, expires, data) VALUES (?, ?, ?, ?, ?, ?)", t.id, d.key.ID, d.key.Sub, revision, d.deadline, d.data)
	}
	if err != nil {
		return err
	}
	var before []*place
	if old.n != 0 {
		before = t.writing.places(old.data)
	}
	if err := t.enterAll(x, t.placesOf(d), before, d.key, n); err != nil {
		return err
	}
	if t.hub.listening() {
		kind := driver.Added
		if old.alive(now) {
			kind = driver.Updated
		}
		t.tell(x, driver.StateChange{Kind: kind, ID: d.key.ID, SubID: d.key.Sub, Revision: uint64(revision), Row: json.RawMessage(d.data)})
	}
	return nil
}

// putBlind is put where blind holds.
func (t *table) putBlind(x *tx, d draft) error {
	revision, err := x.next()
	if err != nil {
		return err
	}
	t.expires(x, d)
	_, _, err = x.exec(`INSERT INTO rows (tbl, id, sub, rev, expires, data) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (tbl, id, sub) DO UPDATE SET rev = excluded.rev, expires = excluded.expires, data = excluded.data`,
		t.id, d.key.ID, d.key.Sub, revision, d.deadline, d.data)
	return err
}

func (t *table) expires(x *tx, d draft) {
	if d.deadline != 0 && !t.expiring {
		x.after(func() { t.expiring = true })
	}
}

// placesOf returns the draft's places in the indexes that are kept up.
func (t *table) placesOf(d draft) []*place {
	if d.shape != t.writing && !slices.Equal(d.shape.ids, t.writing.ids) {
		return t.writing.places(d.data) // the spec has changed since the check
	}
	return d.places
}

// drop removes a row that get returned.
func (t *table) drop(x *tx, old stored, now time.Time) error {
	if old.n == 0 {
		return nil
	}
	if _, _, err := x.exec("DELETE FROM rows WHERE n = ?", old.n); err != nil {
		return err
	}
	if err := t.enterAll(x, nil, t.writing.places(old.data), old.key, old.n); err != nil {
		return err
	}
	if old.alive(now) && t.hub.listening() {
		// A removal is a write: it comes after the row's last revision.
		revision, err := x.next()
		if err != nil {
			return err
		}
		t.tell(x, driver.StateChange{Kind: driver.Removed, ID: old.key.ID, SubID: old.key.Sub, Revision: uint64(revision), Row: json.RawMessage(old.data)})
	}
	return nil
}

func (t *table) tell(x *tx, change driver.StateChange) {
	change.ReadModel = t.name
	x.after(func() { t.hub.emit(change) })
}

// enterAll moves a row from its places before to those it has now.
func (t *table) enterAll(x *tx, now, before []*place, key driver.Key, n int64) error {
	for i, index := range t.writing.ids {
		var from, to *place
		if before != nil {
			from = before[i]
		}
		if now != nil {
			to = now[i]
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
			if err := t.enter(x, index, *to, key, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *table) enter(x *tx, index int64, p place, key driver.Key, n int64) error {
	_, _, err := x.exec("INSERT INTO entries (idx, key, sort, id, sub, n) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n",
		index, p.key, p.sort, key.ID, key.Sub, n)
	return err
}

// sweep removes a few rows that have expired. They are not told.
func (t *table) sweep(x *tx, now time.Time) error {
	if !t.expiring {
		return nil
	}
	var expired []stored
	err := x.query("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND expires > 0 AND expires <= ? LIMIT 16", []any{t.id, now.Unix()},
		func(row []sqldriver.Value) error {
			expired = append(expired, storedRow(row))
			return nil
		})
	if err != nil {
		return err
	}
	for _, r := range expired {
		if err := t.drop(x, r, now); err != nil {
			return err
		}
	}
	return nil
}

// hub tells the subscribers of a table's state topic.
type hub struct {
	mu sync.Mutex
	// count is len(subscribers), for a look without the lock.
	count       atomic.Int32
	subscribers map[*subscriber]struct{}
}

func newHub() *hub { return &hub{subscribers: map[*subscriber]struct{}{}} }

func (h *hub) listening() bool { return h.count.Load() > 0 }

const (
	// subscriberChanges and subscriberBytes bound what a subscriber may be behind.
	subscriberChanges = 4096
	subscriberBytes   = 16 << 20
)

// subscriber is one listener with what it has not taken yet.
type subscriber struct {
	wake chan struct{} // has one element when there is something new

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

// emit tells a change to all subscribers, and waits for none.
func (h *hub) emit(change driver.StateChange) {
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

// pop takes the next change. Each subscriber gets its own copy of the row.
func (s *subscriber) pop() (change driver.StateChange, ok, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost || len(s.queue) == 0 {
		return change, false, s.lost
	}
	change = s.queue[0]
	s.queue[0] = driver.StateChange{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil // an idle subscriber costs little, whatever it had to take
	}
	s.bytes -= len(change.Row)
	change.Row = bytes.Clone(change.Row)
	return change, true, false
}
