package reventlesstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/rows"
	"github.com/reventless-go/reventless/readmodel"
)

// ReadModelTest tests the projections of a read model. [ReadModel] creates it.
type ReadModelTest[R any] struct {
	story
	def     *component.Definition
	w       *world
	db      driver.QueryDb
	engine  driver.QueryEngine
	expires map[driver.Key]time.Time
	err     error
	asked   bool
}

// ReadModel starts a test with a read model that has no rows.
func ReadModel[R any](t testing.TB, m *readmodel.ReadModel[R]) *ReadModelTest[R] {
	t.Helper()
	d := m.Definition()
	r := &ReadModelTest[R]{
		story: story{t: t, name: "read model " + d.Name}, def: d, w: newWorld(), expires: map[driver.Key]time.Time{},
	}
	var err error
	if r.db, r.engine, err = r.w.rows(t.Context(), d); err != nil {
		r.fatal("%v", err)
	}
	t.Cleanup(func() {
		if !t.Failed() && r.err != nil && !r.asked {
			t.Error(r.text("an error, and no Then expects it: " + r.err.Error()))
		}
	})
	return r
}

// Given projects events in sequence. If a projection fails, its commit and the rest of
// facts are skipped; see [ReadModelTest.ThenError].
func (r *ReadModelTest[R]) Given(facts ...Fact) *ReadModelTest[R] {
	r.t.Helper()
	if r.err != nil && !r.asked {
		r.fatal("an error, and no Then expects it: %v", r.err)
	}
	r.err, r.asked = nil, false
	r.step("Given", showFacts(facts)...)
	for _, f := range facts {
		if err := f.check(); err != nil {
			r.fatal("%v", err)
		}
		i := slices.IndexFunc(r.def.ReadModel.Projections, func(p component.Projection) bool { return p.Source == f.source })
		if i < 0 {
			r.fatal("it has no projection of %s %s", kindName(f.source.Kind), f.source.Name)
		}
		events, commit := r.w.nextCommit(f)
		if err := r.project(r.def.ReadModel.Projections[i], events); err != nil {
			r.err = fmt.Errorf("%v: %w", f, err)
			return r
		}
		commit()
	}
	return r
}

// project applies a commit in one step. To check that the projection is pure, it computes
// the step again from the same changes, and from new ones.
func (r *ReadModelTest[R]) project(p component.Projection, events []component.Event) error {
	r.t.Helper()
	ctx := r.t.Context()
	changesOf := func() (all [][]component.Change, err error) {
		for _, e := range events {
			changes, err := p.Project(e)
			if err != nil {
				return nil, err
			}
			all = append(all, changes)
		}
		return all, nil
	}
	changes, err := changesOf()
	if err != nil {
		return err
	}
	step, err := r.compute(ctx, events, changes)
	if err != nil {
		return err
	}
	for _, what := range []string{"its changes are applied again, as after a conflict", "the event is projected again"} {
		again, err := r.compute(ctx, events, changes)
		if err != nil {
			r.fatal("the projection succeeds, but fails when %s: %v", what, err)
		}
		if a, b := showWrites(step), showWrites(again); !slices.Equal(a, b) {
			r.t.Fatalf("%s", r.text("the projection is not pure: rows differ when "+what+"\n"+mismatch("first", "second", a, b)))
		}
		if changes, err = changesOf(); err != nil {
			r.fatal("the projection succeeds, but fails when the event is projected again: %v", err)
		}
	}
	first := events[0]
	err = r.db.Apply(ctx, driver.Step{
		Advances: []driver.Advance{{
			StreamKey: driver.StreamKey{Log: r.w.name(p.Source), Stream: first.Stream},
			From:      first.SequenceNr - 1, To: first.SequenceNr,
		}},
		Writes: step,
	})
	if err != nil {
		return err
	}
	for _, w := range step {
		r.expires[w.Row.Key] = w.Row.ExpiresAt
	}
	return nil
}

func (r *ReadModelTest[R]) compute(ctx context.Context, events []component.Event, changes [][]component.Change) ([]driver.RowWrite, error) {
	f := rowBatch{db: r.db, now: r.w.clock.Now(), model: r.def.ReadModel, spec: r.w.table(r.def), rows: map[driver.Key]*driver.Row{}, whole: map[string]bool{}, dirty: map[driver.Key]bool{}}
	for i, e := range events {
		for _, c := range changes[i] {
			if f.model.OwnRow && c.ID != e.Stream {
				return nil, fmt.Errorf("a change of row %q by an event of %q, in a read model that declares OwnRow: %w", c.ID, e.Stream, driver.ErrInvalid)
			}
			if err := f.apply(ctx, c); err != nil {
				return nil, fmt.Errorf("row %s: %w", showKey(driver.Key{ID: c.ID, Sub: c.Sub}), err)
			}
		}
	}
	return f.writes(), nil
}

// rowBatch contains the rows that a commit changes.
type rowBatch struct {
	db    driver.QueryDb
	now   time.Time
	model *component.ReadModel
	spec  driver.TableSpec
	rows  map[driver.Key]*driver.Row // loaded or changed; nil is absent
	whole map[string]bool            // ids whose rows are all loaded
	dirty map[driver.Key]bool
}

func (f *rowBatch) apply(ctx context.Context, c component.Change) error {
	if c.EditAll != nil {
		return f.applyAll(ctx, c)
	}
	key := driver.Key{ID: c.ID, Sub: c.Sub}
	if err := rows.CheckKey(f.spec, key); err != nil {
		return err
	}
	var old any
	if !c.Blind {
		if err := f.load(ctx, key); err != nil {
			return err
		}
		if stored := f.rows[key]; stored != nil {
			var err error
			if old, err = f.model.Decode(stored.Data); err != nil {
				return err
			}
		}
	}
	row, err := c.EditRow(old)
	if err != nil {
		return err
	}
	f.dirty[key] = true
	if row == nil {
		f.rows[key] = nil
		return nil
	}
	encoded, err := f.encode(key, row)
	f.rows[key] = encoded
	return err
}

func (f *rowBatch) applyAll(ctx context.Context, c component.Change) error {
	if err := driver.CheckID("row", c.ID); err != nil {
		return err
	}
	if err := f.loadAll(ctx, c.ID); err != nil {
		return err
	}
	var keys []driver.Key
	for key, stored := range f.rows {
		if key.ID == c.ID && stored != nil {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, rows.CompareKeys)
	old := make([]any, len(keys))
	for i, key := range keys {
		var err error
		if old[i], err = f.model.Decode(f.rows[key].Data); err != nil {
			return err
		}
	}
	result, err := c.EditAll(old)
	if err != nil {
		return err
	}
	for _, key := range keys {
		f.rows[key], f.dirty[key] = nil, true
	}
	for _, row := range result {
		named, err := f.model.Encode(row)
		if err != nil {
			return err
		}
		key := driver.Key{ID: c.ID, Sub: named.Sub}
		if f.rows[key] != nil {
			return fmt.Errorf("two rows have the sub id %q: %w", key.Sub, driver.ErrInvalid)
		}
		if f.rows[key], err = f.encode(key, row); err != nil {
			return err
		}
		f.dirty[key] = true
	}
	return nil
}

// encode encodes a row, and checks that JSON loses nothing.
func (f *rowBatch) encode(key driver.Key, row any) (*driver.Row, error) {
	out, err := f.model.Encode(row)
	if err != nil {
		return nil, err
	}
	out.Key = key
	if _, err := rows.Check(f.spec, out, 0); err != nil {
		return nil, err
	}
	back, err := f.model.Decode(out.Data)
	if err != nil {
		return nil, fmt.Errorf("it cannot be decoded from its own JSON %s: %w", out.Data, err)
	}
	if before, after := dump(reflect.ValueOf(row)), dump(reflect.ValueOf(back)); before != after {
		return nil, fmt.Errorf("it does not survive JSON:\n%s", mismatch("before", "after", []string{before}, []string{after}))
	}
	return &out, nil
}

func (f *rowBatch) load(ctx context.Context, key driver.Key) error {
	if _, known := f.rows[key]; known || f.whole[key.ID] {
		return nil
	}
	stored, err := f.db.LoadRow(ctx, key)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		f.rows[key] = nil
	case err != nil:
		return err
	default:
		f.rows[key] = &stored
	}
	return nil
}

func (f *rowBatch) loadAll(ctx context.Context, id string) error {
	if f.whole[id] {
		return nil
	}
	stored, err := f.db.Load(ctx, id)
	if err != nil {
		return err
	}
	for _, row := range unexpired(stored, f.now) {
		if _, known := f.rows[row.Key]; !known {
			f.rows[row.Key] = &row
		}
	}
	f.whole[id] = true
	return nil
}

// writes returns the changed rows, ordered by key.
func (f *rowBatch) writes() []driver.RowWrite {
	var out []driver.RowWrite
	for _, key := range slices.SortedFunc(maps.Keys(f.dirty), rows.CompareKeys) {
		if row := f.rows[key]; row != nil {
			out = append(out, driver.RowWrite{Row: *row})
		} else {
			out = append(out, driver.RowWrite{Row: driver.Row{Key: key}, Delete: true})
		}
	}
	return out
}

func showWrites(writes []driver.RowWrite) []string {
	out := make([]string, len(writes))
	for i, w := range writes {
		if w.Delete {
			out[i] = "delete " + showKey(w.Row.Key)
			continue
		}
		out[i] = showRow(w.Row)
		if !w.Row.ExpiresAt.IsZero() {
			out[i] += " expires " + w.Row.ExpiresAt.Format(time.RFC3339)
		}
	}
	return out
}

func showKey(k driver.Key) string {
	if k.Sub == "" {
		return fmt.Sprintf("%q", k.ID)
	}
	return fmt.Sprintf("%q/%q", k.ID, k.Sub)
}

func showRow(r driver.Row) string { return showKey(r.Key) + ": " + canonical(r.Data) }

func showRows(list []driver.Row) []string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = showRow(r)
	}
	return out
}

// Then expects exactly these rows, by id. It is for read models without sub ids.
func (r *ReadModelTest[R]) Then(want map[string]R) *ReadModelTest[R] {
	r.t.Helper()
	r.ask()
	if r.def.ReadModel.SubID != "" {
		r.fatal("Then is for read models without sub ids; use ThenRows and ThenRowCount")
	}
	list := make([]driver.Row, 0, len(want))
	for _, id := range slices.Sorted(maps.Keys(want)) {
		list = append(list, r.encode(id, want[id]))
	}
	r.compare("the rows differ", list, r.all())
	return r
}

// ThenRow expects a row with this content. In a read model with sub ids, its id may have
// other rows.
func (r *ReadModelTest[R]) ThenRow(id string, row R) *ReadModelTest[R] {
	r.t.Helper()
	r.ask()
	want := r.encode(id, row)
	got, err := r.db.LoadRow(r.t.Context(), want.Key)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		r.t.Fatalf("%s", r.text(fmt.Sprintf("row %s does not exist%s\n", showKey(want.Key), r.expired(want.Key))+
			mismatch("want", "all rows", []string{showRow(want)}, showRows(r.all()))))
	case err != nil:
		r.fatal("%v", err)
	}
	r.compare("the row differs", []driver.Row{want}, []driver.Row{got})
	return r
}

// ThenRows expects exactly these rows of an id, in a read model with sub ids.
func (r *ReadModelTest[R]) ThenRows(id string, want ...R) *ReadModelTest[R] {
	r.t.Helper()
	r.ask()
	list := make([]driver.Row, len(want))
	for i, row := range want {
		list[i] = r.encode(id, row)
	}
	slices.SortFunc(list, func(a, b driver.Row) int { return rows.CompareKeys(a.Key, b.Key) })
	r.compare(fmt.Sprintf("the rows of %q differ", id), list, r.load(id))
	return r
}

// ThenNoRow expects that an id has no rows.
func (r *ReadModelTest[R]) ThenNoRow(id string) *ReadModelTest[R] {
	r.t.Helper()
	r.ask()
	if got := r.load(id); len(got) > 0 {
		r.compare(fmt.Sprintf("%q has rows", id), nil, got)
	}
	return r
}

// ThenRowCount expects that the read model has n rows in total.
func (r *ReadModelTest[R]) ThenRowCount(n int) *ReadModelTest[R] {
	r.t.Helper()
	r.ask()
	if got := r.all(); len(got) != n {
		text := fmt.Sprintf("there are %d rows, not %d", len(got), n)
		for _, row := range got {
			text += "\n    " + showRow(row)
		}
		r.fatal("%s", text)
	}
	return r
}

// ThenError expects that the last Given failed with an error that wraps target, such as
// [driver.ErrNotFound] after an update of a row that does not exist, and
// [driver.ErrExists] after a row is created twice.
func (r *ReadModelTest[R]) ThenError(target error) *ReadModelTest[R] {
	r.t.Helper()
	r.asked = true
	if !errors.Is(r.err, target) {
		r.differs("the error differs", []string{showError(target)}, []string{showError(r.err)})
	}
	return r
}

// ask begins a Then. It fails the test if there is an error that no Then has checked.
func (r *ReadModelTest[R]) ask() {
	r.t.Helper()
	if r.err != nil && !r.asked {
		r.asked = true
		r.fatal("%v", r.err)
	}
}

func (r *ReadModelTest[R]) encode(id string, row R) driver.Row {
	r.t.Helper()
	out, err := r.def.ReadModel.Encode(&row)
	if err != nil {
		r.fatal("expected row of %q: %v", id, err)
	}
	out.ID = id
	return out
}

func (r *ReadModelTest[R]) load(id string) []driver.Row {
	r.t.Helper()
	got, err := r.db.Load(r.t.Context(), id)
	if err != nil {
		r.fatal("%v", err)
	}
	return unexpired(got, r.w.clock.Now())
}

// unexpired removes the rows that have expired.
func unexpired(all []driver.Row, now time.Time) []driver.Row {
	return slices.DeleteFunc(all, func(row driver.Row) bool { return rows.Expired(rows.Deadline(row.ExpiresAt), now) })
}

// all returns all rows, ordered by key.
func (r *ReadModelTest[R]) all() []driver.Row {
	r.t.Helper()
	var all []driver.Row
	for cursor := ""; ; {
		page, err := r.engine.Scan(r.t.Context(), driver.Scan{ReadModel: r.w.name(r.def), Cursor: cursor, Limit: 1000})
		if err != nil {
			r.fatal("%v", err)
		}
		all = append(all, page.Rows...)
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b driver.Row) int { return rows.CompareKeys(a.Key, b.Key) })
	return all
}

func (r *ReadModelTest[R]) compare(what string, want, got []driver.Row) {
	r.t.Helper()
	if w, g := showRows(want), showRows(got); !slices.Equal(w, g) {
		r.differs(what, w, g)
	}
}

func (r *ReadModelTest[R]) expired(key driver.Key) string {
	at := r.expires[key]
	if at.IsZero() || r.w.clock.Now().Before(at) {
		return ""
	}
	return fmt.Sprintf(": it expired at %s, and the clock is at %s", at.Format(time.RFC3339), r.w.clock.Now().Format(time.RFC3339))
}
