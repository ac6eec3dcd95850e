package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// queryDb is a [driver.QueryDb].
type queryDb struct {
	*watermarks
	t *table
}

// Load implements [driver.QueryDb].
func (db *queryDb) Load(ctx context.Context, id string) ([]driver.Row, error) {
	if err := db.p.begin(ctx); err != nil {
		return nil, err
	}
	defer db.p.end()
	db.t.mu.RLock()
	defer db.t.mu.RUnlock()
	var found []driver.Row
	for _, r := range db.rowsOf(id) {
		found = append(found, r.row(r.data))
	}
	return found, nil
}

// rowsOf returns the rows of id, ascending by sub id.
func (db *queryDb) rowsOf(id string) []*record {
	var found []*record
	for e := range db.t.byID.ascend(func(e entry) bool { return e.at.ID >= id }) {
		if e.at.ID != id {
			break
		}
		found = append(found, db.t.rows[e.at.Key])
	}
	return found
}

// LoadRow implements [driver.QueryDb].
func (db *queryDb) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	if err := db.p.begin(ctx); err != nil {
		return driver.Row{}, err
	}
	defer db.p.end()
	db.t.mu.RLock()
	defer db.t.mu.RUnlock()
	r := db.t.get(key, db.p.now())
	if r == nil {
		return driver.Row{}, fmt.Errorf("querydb %q: row %q: %w", db.name, key, driver.ErrNotFound)
	}
	return r.row(r.data), nil
}

// LoadRows implements [driver.QueryDb].
func (db *queryDb) LoadRows(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
	if err := db.p.begin(ctx); err != nil {
		return nil, err
	}
	defer db.p.end()
	db.t.mu.RLock()
	defer db.t.mu.RUnlock()
	seen := make(map[driver.Key]bool)
	var found []driver.Row
	for _, key := range keys {
		if r := db.t.rows[key]; r != nil && !seen[key] {
			seen[key] = true
			found = append(found, r.row(r.data))
		}
	}
	return found, nil
}

// Apply implements [driver.QueryDb].
func (db *queryDb) Apply(ctx context.Context, step driver.Step) error {
	if err := db.p.begin(ctx); err != nil {
		return err
	}
	defer db.p.end()
	db.t.mu.Lock()
	defer db.t.mu.Unlock()
	if err := db.checkStep(step); err != nil {
		return err
	}
	now := db.p.now()
	if err := db.t.watermarks.check(step.Advances); err != nil {
		return fmt.Errorf("querydb %q: %w", db.name, err)
	}
	for _, w := range step.Writes {
		var revision uint64
		if r := db.t.rows[w.Row.Key]; r != nil {
			revision = r.revision
		}
		if w.Guard && w.Expect != revision {
			return fmt.Errorf("querydb %q: row %q has revision %d, not %d: %w", db.name, w.Row.Key, revision, w.Expect, driver.ErrConflict)
		}
	}
	for _, w := range step.Writes {
		if w.Delete {
			db.t.delete(w.Row.Key, now)
		} else {
			db.t.put(w.Row, now)
		}
	}
	db.t.watermarks.move(step.Advances)
	return nil
}

// checkStep checks the parts of step that do not depend on stored data.
func (db *queryDb) checkStep(step driver.Step) error {
	if size, limit := len(step.Writes)+len(step.Advances), db.p.limits.MaxStep; size > limit {
		return fmt.Errorf("querydb %q: %w", db.name, &driver.TooLargeError{What: "step", Size: size, Limit: limit})
	}
	if err := checkAdvances(step.Advances); err != nil {
		return fmt.Errorf("querydb %q: %w", db.name, err)
	}
	ownRow := db.t.spec.OwnRow
	if ownRow && len(step.Advances) != 1 {
		return fmt.Errorf("querydb %q: OwnRow: the step has %d advances, want 1: %w", db.name, len(step.Advances), driver.ErrInvalid)
	}
	if ownRow && step.Advances[0].To == step.Advances[0].From {
		return fmt.Errorf("querydb %q: OwnRow: the step does not advance its watermark: %w", db.name, driver.ErrInvalid)
	}
	seen := make(map[driver.Key]bool)
	for _, w := range step.Writes {
		key := w.Row.Key
		if seen[key] {
			return fmt.Errorf("querydb %q: two writes to row %q: %w", db.name, key, driver.ErrInvalid)
		}
		seen[key] = true
		if ownRow && key.ID != step.Advances[0].Stream {
			return fmt.Errorf("querydb %q: OwnRow: row %q is not the row of stream %q: %w", db.name, key, step.Advances[0].Stream, driver.ErrInvalid)
		}
		if w.Delete {
			continue
		}
		if _, err := rows.Check(db.t.spec, w.Row, db.p.limits.MaxRowBytes); err != nil {
			return fmt.Errorf("querydb %q: %w", db.name, err)
		}
	}
	return nil
}

// Clear implements [driver.QueryDb]. It publishes the removal of every row.
func (db *queryDb) Clear(ctx context.Context) error {
	if err := db.p.begin(ctx); err != nil {
		return err
	}
	defer db.p.end()
	db.t.mu.Lock()
	defer db.t.mu.Unlock()
	now := db.p.now()
	all := slices.Collect(db.t.byID.ascend(func(entry) bool { return true }))
	for _, e := range all {
		db.t.delete(e.at.Key, now)
	}
	clear(db.t.watermarks)
	return nil
}
