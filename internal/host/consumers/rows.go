package consumers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

// rowBatch is the rows that one step changes.
type rowBatch struct {
	model *component.ReadModel
	db    driver.RowStore
	rows  map[driver.Key]*batchRow
	order []driver.Key
	byID  map[string][]driver.Key
	whole map[string]bool // ids whose rows are all in the batch
}

type batchRow struct {
	revision uint64 // as read; 0 is absent
	known    bool   // the revision is known, so that the write is guarded by it
	row      any    // *R; nil if the row is absent
	changed  bool
}

// loadBatch reads, in one call, the rows that changes look at.
func (p *projector) loadBatch(ctx context.Context, plans []*plan) (*rowBatch, error) {
	b := &rowBatch{model: p.model, db: p.db, rows: map[driver.Key]*batchRow{}, byID: map[string][]driver.Key{}, whole: map[string]bool{}}
	var keys []driver.Key
	seen := map[driver.Key]bool{}
	for _, pl := range plans {
		for _, changes := range pl.commits {
			for _, ch := range changes {
				key := driver.Key{ID: ch.ID, Sub: ch.Sub}
				if ch.EditAll != nil || seen[key] {
					continue
				}
				if seen[key] = true; !ch.Blind {
					keys = append(keys, key)
				}
			}
		}
	}
	rows, err := p.db.LoadRows(ctx, keys)
	if err != nil {
		return nil, core.StoreError(err)
	}
	for _, k := range keys {
		b.row(k).known = true
	}
	for _, r := range rows {
		if err := b.add(r); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// row returns a row of the batch and adds it if it is new.
func (b *rowBatch) row(k driver.Key) *batchRow {
	r := b.rows[k]
	if r == nil {
		r = &batchRow{}
		b.rows[k] = r
		b.order = append(b.order, k)
		b.byID[k.ID] = append(b.byID[k.ID], k)
	}
	return r
}

// add adds a stored row.
func (b *rowBatch) add(stored driver.Row) error {
	row, err := b.model.Decode(stored.Data)
	if err != nil {
		return fmt.Errorf("stored row %q: %w: %w", stored.ID, driver.ErrInvalid, err)
	}
	r := b.row(stored.Key)
	r.revision, r.known, r.row = stored.Revision, true, row
	return nil
}

func (b *rowBatch) change(ctx context.Context, changes []change) error {
	for _, ch := range changes {
		edit := b.editRow
		if ch.EditAll != nil {
			edit = b.editAll
		}
		if err := edit(ctx, ch); err != nil {
			return fmt.Errorf("project %s: row %q: %w", ch.event, core.Clip(ch.ID), err)
		}
	}
	return nil
}

func (b *rowBatch) editRow(ctx context.Context, ch change) error {
	key := driver.Key{ID: ch.ID, Sub: ch.Sub}
	r := b.row(key)
	if !ch.Blind && !r.known && !r.changed {
		// loadBatch did not read the row, since its first change is blind; the commit
		// with that change was left out.
		rows, err := b.db.LoadRows(ctx, []driver.Key{key})
		if err != nil {
			return core.StoreError(err)
		}
		r.known = true
		for _, stored := range rows {
			if err := b.add(stored); err != nil {
				return err
			}
		}
	}
	current := b.current(r, ch.at)
	row, err := ch.EditRow(current)
	if err != nil {
		return err
	}
	if row == nil && current == nil && r.known {
		return nil // the row is absent and stays absent, or has expired
	}
	r.row, r.changed = row, true
	return nil
}

// current returns the row as an event recorded at a time sees it: nil if it is absent or
// has expired. It depends on the log only, not on when the event is projected.
func (b *rowBatch) current(r *batchRow, at time.Time) any {
	if r.row == nil || b.model.ExpiresAt == nil {
		return r.row
	}
	if end := b.model.ExpiresAt(r.row); !end.IsZero() && !end.After(at) {
		return nil
	}
	return r.row
}

func (b *rowBatch) editAll(ctx context.Context, ch change) error {
	if err := b.loadAll(ctx, ch.ID); err != nil {
		return err
	}
	keys := slices.DeleteFunc(slices.Clone(b.byID[ch.ID]), func(k driver.Key) bool { return b.current(b.rows[k], ch.at) == nil })
	slices.SortFunc(keys, func(a, b driver.Key) int { return cmp.Compare(a.Sub, b.Sub) })
	rows := make([]any, len(keys))
	for i, k := range keys {
		rows[i] = b.rows[k].row
	}
	rows, err := ch.EditAll(rows)
	if err != nil {
		return err
	}
	kept := map[driver.Key]bool{}
	for _, row := range rows {
		sub, err := b.model.SubIDOf(row)
		if err != nil {
			return err
		}
		key := driver.Key{ID: ch.ID, Sub: sub}
		if kept[key] {
			return fmt.Errorf("two rows with the sub id %q: %w", sub, driver.ErrInvalid)
		}
		kept[key] = true
		r := b.row(key)
		r.row, r.changed, r.known = row, true, true
	}
	for _, k := range keys {
		if !kept[k] {
			b.rows[k].row, b.rows[k].changed = nil, true
		}
	}
	return nil
}

// loadAll reads all rows of an id, unless that was done before.
func (b *rowBatch) loadAll(ctx context.Context, id string) error {
	if b.whole[id] {
		return nil
	}
	rows, err := b.db.Load(ctx, id)
	if err != nil {
		return core.StoreError(err)
	}
	for _, stored := range rows {
		switch r := b.rows[stored.Key]; {
		case r != nil && r.known:
		case r != nil && r.changed: // by a blind change, which now replaces this revision
			r.revision, r.known = stored.Revision, true
		default:
			if err := b.add(stored); err != nil {
				return err
			}
		}
	}
	for _, k := range b.byID[id] {
		b.rows[k].known = true // a row that was not read is absent
	}
	b.whole[id] = true
	return nil
}

// writes returns the changed rows. Each is encoded here, and nowhere else. The store
// refuses a row whose sub id is not that of its key.
func (b *rowBatch) writes() ([]driver.RowWrite, error) {
	var out []driver.RowWrite
	for _, k := range b.order {
		r := b.rows[k]
		w := driver.RowWrite{Guard: r.known, Expect: r.revision}
		switch {
		case !r.changed, r.row == nil && r.known && r.revision == 0:
			continue
		case r.row == nil:
			w.Delete = true
		default:
			var err error
			if w.Row, err = b.model.Encode(r.row); err != nil {
				return nil, err
			}
		}
		w.Row.Key = k
		out = append(out, w)
	}
	return out, nil
}
