package reventlesstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/task"
)

// world contains the read models and buckets of a test, in memory.
type world struct {
	history
	provider *memory.Provider
	names    map[*component.Definition]string
}

func newWorld() *world {
	clock := NewClock(time.Time{})
	return &world{
		history:  history{clock: clock, last: map[stream]uint64{}},
		provider: memory.New(&memory.Options{Now: clock.Now}),
		names:    map[*component.Definition]string{},
	}
}

// name returns a unique name: components of two plugins may have the same name.
func (w *world) name(d *component.Definition) string {
	name, ok := w.names[d]
	if !ok {
		name = d.Name
		for other := range w.names {
			if other.Name == d.Name {
				name += "'"
			}
		}
		w.names[d] = name
	}
	return name
}

// table describes the rows of a read model. The rows of a fixture belong to no stream,
// so the table does not have OwnRow.
func (w *world) table(d *component.Definition) driver.TableSpec {
	return driver.TableSpec{Name: w.name(d), SubID: d.ReadModel.SubID, Indexes: d.ReadModel.Indexes}
}

func (w *world) rows(ctx context.Context, d *component.Definition) (driver.QueryDb, driver.QueryEngine, error) {
	db, err := w.provider.OpenQueryDb(ctx, w.table(d))
	if err != nil {
		return nil, nil, err
	}
	engine, err := w.provider.OpenQueryEngine(ctx, []driver.TableSpec{w.table(d)})
	return db, engine, err
}

// files returns the content of a bucket by key.
func (w *world) files(ctx context.Context, bucket *component.Definition) (map[string]string, error) {
	b, err := w.provider.OpenBucket(ctx, w.name(bucket))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for after := ""; ; {
		const page = 1000
		objects, err := b.List(ctx, "", after, page)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if files[o.Key], err = readFile(ctx, b, o.Key); err != nil {
				return nil, err
			}
			after = o.Key
		}
		if len(objects) < page {
			return files, nil
		}
	}
}

func readFile(ctx context.Context, b driver.Bucket, key string) (string, error) {
	body, _, err := b.Get(ctx, key)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(body)
	return string(data), errors.Join(err, body.Close())
}

// Fixture is data that a component can read. [Rows] and [File] create it.
type Fixture struct {
	of    *component.Definition
	text  string
	apply func(context.Context, *world) error
}

// Rows are rows of an id in a read model: one row, or several if the read model has sub
// ids.
func Rows[R any](m *readmodel.ReadModel[R], id string, rows ...R) Fixture {
	d := m.Definition()
	return Fixture{d, fmt.Sprintf("%d rows of %s %q", len(rows), d.Name, id), func(ctx context.Context, w *world) error {
		if len(rows) > 1 && d.ReadModel.SubID == "" {
			return fmt.Errorf("%d rows in a read model without sub ids", len(rows))
		}
		db, _, err := w.rows(ctx, d)
		if err != nil {
			return err
		}
		for i := range rows {
			row, err := d.ReadModel.Encode(&rows[i])
			if err != nil {
				return err
			}
			row.ID = id
			if err := db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{{Row: row}}}); err != nil {
				return err
			}
		}
		return nil
	}}
}

// File is a file in a bucket.
func File(bucket *task.Bucket, key, content string) Fixture {
	d := bucket.Definition()
	return Fixture{d, fmt.Sprintf("file %q in %s", key, d.Name), func(ctx context.Context, w *world) error {
		return w.put(ctx, d, key, content)
	}}
}

func (w *world) put(ctx context.Context, bucket *component.Definition, key, content string) error {
	b, err := w.provider.OpenBucket(ctx, w.name(bucket))
	if err != nil {
		return err
	}
	return b.Put(ctx, key, strings.NewReader(content))
}

// env is the plugin.Env of one call.
type env struct {
	ctx  context.Context
	w    *world
	of   *component.Definition
	uses []*component.Definition
	key  string
}

func (e *env) Now() time.Time         { return e.w.clock.Now() }
func (e *env) IdempotencyKey() string { return e.key }

func (e *env) OpenRows(d *component.Definition) (driver.QueryDb, driver.QueryEngine, string, error) {
	if err := e.check(d); err != nil {
		return nil, nil, "", err
	}
	db, engine, err := e.w.rows(e.ctx, d)
	return db, engine, e.w.name(d), err
}

func (e *env) OpenBucket(d *component.Definition) (driver.Bucket, error) {
	if err := e.check(d); err != nil {
		return nil, err
	}
	return e.w.provider.OpenBucket(e.ctx, e.w.name(d))
}

func (e *env) check(d *component.Definition) error {
	if slices.Contains(e.uses, d) {
		return nil
	}
	return fmt.Errorf("%s %s does not declare that it uses %s %s: %w", e.of.Kind, e.of.Name, d.Kind, d.Name, driver.ErrInvalid)
}
