package querydb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/querydb"
	"github.com/reventless-go/reventless/driver"
)

var (
	shared = driver.TableSpec{Name: "Test.Shared"}
	own    = driver.TableSpec{Name: "Test.Own", OwnRow: true}
	lines  = driver.TableSpec{Name: "Test.Lines", SubID: "line", Indexes: []driver.Index{
		{Name: "byColor", Key: driver.Field{Name: "color"}, Sort: &driver.Field{Name: "shade"}},
	}}
)

func row(id string, n int) driver.Row {
	return driver.Row{Key: driver.Key{ID: id}, Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
}

func put(r driver.Row) driver.RowWrite { return driver.RowWrite{Row: r} }

// save writes a row.
func save(t *testing.T, db driver.QueryDb, r driver.Row) error {
	t.Helper()
	return db.Apply(t.Context(), driver.Step{Writes: []driver.RowWrite{put(r)}})
}

func stream(name string) driver.StreamKey { return driver.StreamKey{Log: "Test.Log", Stream: name} }

func advance(name string, from uint64) driver.Advance {
	return driver.Advance{StreamKey: stream(name), From: from, To: from + 1}
}

// meter counts what calls of a read model cost.
type meter struct {
	*querydb.Db
	requests *awstest.Counter

	mu    sync.Mutex
	units float64
}

func metered(t *testing.T, s *awstest.ReadModels, spec driver.TableSpec) *meter {
	t.Helper()
	m := &meter{requests: awstest.NewCounter(nil)}
	m.Db = s.Db(t, m.requests, spec, func(_ string, c *types.ConsumedCapacity) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.units += aws.ToFloat64(c.CapacityUnits)
	})
	return m
}

// want checks that f makes n requests of one operation. A negative number of
// units is not looked at: the emulator does not count transactions as the service
// is documented to, at two units for each item, and reads of nothing as none.
func (m *meter) want(t *testing.T, what, operation string, n int, units float64, f func(ctx context.Context) error) {
	t.Helper()
	m.requests.Reset()
	m.units = 0
	if err := f(t.Context()); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if got := m.requests.Of("DynamoDB." + operation); got != n || m.requests.Of() != n {
		t.Errorf("%s took the requests %v, want %d of %s", what, m.requests.All(), n, operation)
	}
	if units >= 0 && m.units != units {
		t.Errorf("%s took %v units, want %v", what, m.units, units)
	}
}

func TestOwnRowStepsAreOneUpdateOfOneUnit(t *testing.T) {
	t.Parallel()
	db := metered(t, awstest.NewReadModels(t), own)
	step := func(from uint64, writes ...driver.RowWrite) func(context.Context) error {
		return func(ctx context.Context) error {
			return db.Apply(ctx, driver.Step{Advances: []driver.Advance{advance("a", from)}, Writes: writes})
		}
	}
	db.want(t, "a new row", "UpdateItem", 1, 1, step(0, put(row("a", 1))))
	db.want(t, "a change", "UpdateItem", 1, 1, step(1, put(row("a", 2))))
	db.want(t, "a step without a write", "UpdateItem", 1, 1, step(2))
	db.want(t, "a removal", "UpdateItem", 1, 1, step(3, driver.RowWrite{Row: row("a", 0), Delete: true}))
	db.want(t, "a new row where one was", "UpdateItem", 1, 1, step(4, driver.RowWrite{Row: row("a", 3), Guard: true}))
	db.want(t, "its watermark", "GetItem", 1, 1, func(ctx context.Context) error {
		mark, err := db.Watermark(ctx, stream("a"))
		if mark.SequenceNr != 5 {
			t.Errorf("the watermark is %+v, want 5", mark)
		}
		return err
	})
}

func TestSharedStepsAreOneTransaction(t *testing.T) {
	t.Parallel()
	db := metered(t, awstest.NewReadModels(t), shared)
	db.want(t, "rows and watermarks", "TransactWriteItems", 1, -1, func(ctx context.Context) error {
		return db.Apply(ctx, driver.Step{
			Advances: []driver.Advance{advance("a", 0), advance("b", 0)},
			Writes:   []driver.RowWrite{put(row("x", 1)), put(row("y", 1)), {Row: row("z", 1), Delete: true}},
		})
	})
	db.want(t, "a watermark alone", "UpdateItem", 1, 1, func(ctx context.Context) error {
		return db.Apply(ctx, driver.Step{Advances: []driver.Advance{advance("a", 1)}})
	})
	db.want(t, "a row alone", "UpdateItem", 1, 1, func(ctx context.Context) error {
		return db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{put(row("x", 2))}})
	})
	db.want(t, "nothing", "None", 0, 0, func(ctx context.Context) error { return db.Apply(ctx, driver.Step{}) })
}

func TestReadsCostWhatTheyHaveTo(t *testing.T) {
	t.Parallel()
	db := metered(t, awstest.NewReadModels(t), shared)
	var all []driver.Row
	var keys []driver.Key
	for i := range 60 {
		all = append(all, row(fmt.Sprint(i), i))
		keys = append(keys, all[i].Key)
	}
	awstest.Fill(t, db, all)
	db.want(t, "LoadRow", "GetItem", 1, 1, func(ctx context.Context) error { _, err := db.LoadRow(ctx, keys[0]); return err })
	db.want(t, "Load", "GetItem", 1, 1, func(ctx context.Context) error { _, err := db.Load(ctx, "0"); return err })
	db.want(t, "LoadRows of 60", "BatchGetItem", 1, 60, func(ctx context.Context) error { _, err := db.LoadRows(ctx, append(keys, keys...)); return err })
}

// What is too large is measured: nothing of it is sent.
func TestTooLargeIsNotSent(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	db, plain, owned := metered(t, s, lines), metered(t, s, shared), metered(t, s, own)
	line := func(id, sub, rest string) driver.Row {
		return driver.Row{Key: driver.Key{ID: id, Sub: sub}, Data: json.RawMessage(`{"line":"` + sub + `"` + rest + `}`)}
	}
	big := func(id string, size int) driver.Row {
		return driver.Row{Key: driver.Key{ID: id}, Data: json.RawMessage(`{"f":"` + strings.Repeat("x", size) + `"}`)}
	}
	var many, heavy driver.Step
	for i := range querydb.MaxStep + 1 {
		many.Writes = append(many.Writes, put(row(fmt.Sprint(i), i)))
	}
	for i := range 12 {
		heavy.Writes = append(heavy.Writes, put(big(fmt.Sprint(i), 380<<10)))
	}
	for what, c := range map[string]struct {
		m    *meter
		call func() error
		name string // is in the error
	}{
		"an index key": {db, func() error {
			return save(t, db, line("a", "s", `,"shade":"x","color":"`+strings.Repeat("x", 2049)+`"`))
		}, "byColor"},
		"a sort value with its ids": {db, func() error {
			return save(t, db, line(strings.Repeat("i", 600), "s", `,"color":"x","shade":"`+strings.Repeat("x", 421)+`"`))
		}, "byColor"},
		"an escaped sort value": {db, func() error {
			return save(t, db, line("a", "s", `,"color":"x","shade":"`+strings.Repeat(`\u0000`, 600)+`"`))
		}, "byColor"},
		"a row": {plain, func() error { return save(t, plain, big("a", querydb.MaxRowBytes)) }, "row"},
		"a row of a stream": {owned, func() error {
			return owned.Apply(t.Context(), driver.Step{Advances: []driver.Advance{advance("a", 0)}, Writes: []driver.RowWrite{put(big("a", querydb.MaxRowBytes))}})
		}, "row"},
		"a step of many": {plain, func() error { return plain.Apply(t.Context(), many) }, "step"},
		"a heavy step":   {plain, func() error { return plain.Apply(t.Context(), heavy) }, "step"},
	} {
		c.m.requests.Reset()
		err := c.call()
		var large *driver.TooLargeError
		if !errors.As(err, &large) || large.Size <= large.Limit || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: got %v, want a *TooLargeError that names %s", what, err, c.name)
		}
		if n := c.m.requests.Of(); n != 0 {
			t.Errorf("%s: %d requests were made", what, n)
		}
	}
	// What is just small enough is taken by the service.
	for what, r := range map[string]driver.Row{
		"a key":        line("i", "s", `,"color":"`+strings.Repeat("x", 2048)+`","shade":"x"`),
		"a sort value": line(strings.Repeat("i", 600), "s", `,"color":"x","shade":"`+strings.Repeat("x", 420)+`"`),
	} {
		if err := save(t, db, r); err != nil {
			t.Errorf("%s of just the limit: %v", what, err)
		}
	}
	if err := owned.Apply(t.Context(), driver.Step{Advances: []driver.Advance{advance("a", 0)}, Writes: []driver.RowWrite{put(big("a", querydb.MaxRowBytes-100))}}); err != nil {
		t.Errorf("a row of just the limit: %v", err)
	}
}
