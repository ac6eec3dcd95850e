package memory

import (
	"bytes"
	"cmp"
	"encoding/json"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// table is the state that all drivers of one read model share.
type table struct {
	p       *Provider
	changes *stateTopic

	mu         sync.RWMutex
	spec       driver.TableSpec
	rows       map[driver.Key]*record // may include expired ones
	byID       *sorted[entry]
	byIndex    map[string]*sorted[entry]
	expiring   *sorted[*record] // rows with an expiry, earliest first
	revision   uint64           // last revision of any row
	watermarks byStream
	record     []byte // of the shadow; nil in a shadow
	shadow     *table // nil in a shadow
}

// record is a stored row. It is replaced, never changed.
type record struct {
	key      driver.Key
	data     json.RawMessage
	deadline int64
	purge    int64 // when the row is removed, after its expiry
	revision uint64
	entries  map[string]entry // by index
}

// entry is the entry of a row in an index, or in byID with the id as its value.
type entry struct {
	value any // a string or a float64
	at    rows.Position
	rec   *record
}

func compareEntries(a, b entry) int {
	return cmp.Or(rows.CompareValues(a.value, b.value), a.at.Compare(b.at))
}

func comparePurges(a, b *record) int {
	return cmp.Or(cmp.Compare(a.purge, b.purge), rows.CompareKeys(a.key, b.key))
}

func newTable(p *Provider, spec driver.TableSpec) *table {
	t := &table{
		p: p, changes: newStateTopic(p),
		rows:       make(map[driver.Key]*record),
		byID:       &sorted[entry]{compare: compareEntries},
		expiring:   &sorted[*record]{compare: comparePurges},
		watermarks: make(byStream),
	}
	t.define(spec)
	return t
}

// empty removes all rows and watermarks. It publishes nothing.
func (t *table) empty() {
	clear(t.rows)
	clear(t.watermarks)
	t.byID, t.expiring = &sorted[entry]{compare: compareEntries}, &sorted[*record]{compare: comparePurges}
	t.define(t.spec)
}

// define sets the spec and builds the indexes.
func (t *table) define(spec driver.TableSpec) {
	t.spec = copySpec(spec)
	t.byIndex = make(map[string]*sorted[entry])
	for _, index := range t.spec.Indexes {
		t.byIndex[index.Name] = &sorted[entry]{compare: compareEntries}
	}
	for _, r := range t.rows {
		t.addEntries(r)
	}
}

// alter changes the table and its shadow to spec. Served rows keep their sub id field
// until the swap.
func (t *table) alter(spec driver.TableSpec) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shadow.mu.Lock()
	defer t.shadow.mu.Unlock()
	t.shadow.define(spec)
	t.purge(t.p.now())
	if len(t.rows) > 0 {
		spec.SubID = t.spec.SubID
	}
	t.define(spec)
}

// get returns the row of key, or nil if it is absent or has expired.
func (t *table) get(key driver.Key, now time.Time) *record {
	if r := t.rows[key]; r != nil && !rows.Expired(r.deadline, now) {
		return r
	}
	return nil
}

// put stores a checked row and publishes the change.
func (t *table) put(row driver.Row, now time.Time) {
	kind, r := t.store(row, now)
	t.changes.publish(driver.StateChange{
		Kind: kind, ReadModel: t.spec.Name, ID: r.key.ID, SubID: r.key.Sub, Revision: r.revision, Row: r.data,
	})
}

// store stores a checked row and returns the change that readers see.
func (t *table) store(row driver.Row, now time.Time) (kind driver.ChangeKind, r *record) {
	t.purge(now)
	kind = driver.Added
	if old := t.rows[row.Key]; old != nil {
		if !rows.Expired(old.deadline, now) {
			kind = driver.Updated
		}
		t.remove(old)
	}
	t.revision++
	r = &record{
		key: row.Key, data: bytes.Clone(row.Data), deadline: rows.Deadline(row.ExpiresAt), revision: t.revision,
	}
	r.purge = rows.Purge(r.deadline, now)
	t.rows[r.key] = r
	t.byID.insert(entry{value: r.key.ID, at: rows.Position{Key: r.key}, rec: r})
	if r.deadline != 0 {
		t.expiring.insert(r)
	}
	t.addEntries(r)
	return kind, r
}

// delete removes the row of key, if any, and publishes the change.
func (t *table) delete(key driver.Key, now time.Time) {
	t.purge(now)
	r := t.rows[key]
	if r == nil {
		return
	}
	t.remove(r)
	if rows.Expired(r.deadline, now) {
		return // its readers know
	}
	t.revision++ // a removal is a write: its revision is greater than the row's last one
	t.changes.publish(driver.StateChange{
		Kind: driver.Removed, ReadModel: t.spec.Name, ID: key.ID, SubID: key.Sub, Revision: t.revision, Row: r.data,
	})
}

// purge removes the rows whose grace is over. Reads check the expiry on their own.
func (t *table) purge(now time.Time) {
	for {
		var expired *record
		for r := range t.expiring.ascend(func(*record) bool { return true }) {
			if rows.Expired(r.purge, now) {
				expired = r
			}
			break
		}
		if expired == nil {
			return
		}
		t.remove(expired)
	}
}

func (t *table) remove(r *record) {
	delete(t.rows, r.key)
	t.byID.remove(entry{value: r.key.ID, at: rows.Position{Key: r.key}})
	t.expiring.remove(r)
	for name, e := range r.entries {
		t.byIndex[name].remove(e)
	}
}

// addEntries adds r to the indexes that it belongs to.
func (t *table) addEntries(r *record) {
	r.entries = make(map[string]entry)
	if len(t.spec.Indexes) == 0 {
		return
	}
	fields, err := rows.Fields(r.data)
	if err != nil {
		return // impossible: the data was checked
	}
	for _, index := range t.spec.Indexes {
		// A row that does not fit the index is older than the index: it is omitted.
		if found, ok, err := rows.IndexEntry(index, fields); ok && err == nil {
			e := entry{value: found.Key, at: rows.Position{Sort: found.Sort, Key: r.key}, rec: r}
			r.entries[index.Name] = e
			t.byIndex[index.Name].insert(e)
		}
	}
}

// row returns r as a row with a copy of data, which is all or part of r's data.
func (r *record) row(data json.RawMessage) driver.Row {
	return driver.Row{Key: r.key, Data: bytes.Clone(data), ExpiresAt: rows.ExpiresAt(r.deadline), Revision: r.revision}
}
