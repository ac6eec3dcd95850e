package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestQueryDb runs the suite of [driver.QueryDb], and that of
// [driver.Checkpoints] on a read model.
func TestQueryDb(t *testing.T, open Open) { queryDbSuite().run(t, open) }

func queryDbSuite() suite {
	return suite{"QueryDb", slices.Concat(rowProperties(), stepProperties(), checkpointsProperties(
		func(e *env) driver.Checkpoints { return e.table(plainTable) },
		func(e *env) driver.Checkpoints { return e.table(ownTable) },
	))}
}

func rowProperties() []property {
	return []property{
		{"AbsentRowsReadAsAbsent", absentRowsReadAsAbsent},
		{"LoadIsAscendingBySubID", loadIsAscendingBySubID},
		{"LoadRowsReturnsEachRowOnce", loadRowsReturnsEachRowOnce},
		{"ReadsSeeEveryWrite", readsSeeEveryWrite},
		{"DataIsKeptByteForByte", dataIsKeptByteForByte},
		{"RowIDsAreKeptApart", rowIDsAreKeptApart},
		{"BadRowsAreRefused", badRowsAreRefused},
		{"IndexFieldsMayBeAbsent", indexFieldsMayBeAbsent},
		{"RowsUpToTheLimitAreStored", rowsUpToTheLimitAreStored},
		{"RowsOverTheLimitAreRefused", rowsOverTheLimitAreRefused},
		{"SaveModesAreEnforced", saveModesAreEnforced},
		{"OneWinnerOfEightConcurrentInits", oneWinnerOfEightConcurrentInits},
		{"RevisionsGrowWithEveryWrite", revisionsGrowWithEveryWrite},
		{"RevisionsAreNotReusedAfterDelete", revisionsAreNotReusedAfterDelete},
		{"RevisionsAreNotReusedAfterExpiry", revisionsAreNotReusedAfterExpiry},
		{"RevisionsAreNotReusedAfterReopening", revisionsAreNotReusedAfterReopening},
		{"SaveBatchWritesEveryRow", saveBatchWritesEveryRow},
		{"SaveBatchLetsTheLaterRowWin", saveBatchLetsTheLaterRowWin},
		{"SaveBatchNamesTheRowsThatFailed", saveBatchNamesTheRowsThatFailed},
		{"CountIsAtomic", countIsAtomic},
		{"CountIsAtomicAgainstOtherWrites", countIsAtomicAgainstOtherWrites},
		{"CountCreatesWhatIsAbsent", countCreatesWhatIsAbsent},
		{"CountKeepsTheRestOfTheRow", countKeepsTheRestOfTheRow},
		{"CountRefusesWhatIsNotAWholeNumber", countRefusesWhatIsNotAWholeNumber},
		{"DeleteRemovesOneRow", deleteRemovesOneRow},
		{"DeleteAllRemovesTheRowsOfAnID", deleteAllRemovesTheRowsOfAnID},
		{"DeleteBatchRemovesEveryRow", deleteBatchRemovesEveryRow},
		{"ExpiredRowsAreAbsentInEveryRespect", expiredRowsAreAbsentInEveryRespect},
		{"TheLastWriteSetsTheExpiry", theLastWriteSetsTheExpiry},
		{"RowErrorsAreNotEmptyResults", rowErrorsAreNotEmptyResults},
		{"ArgumentsAreNotKept", saveDoesNotKeepItsArguments},
		{"RowsSurviveReopening", rowsSurviveReopening},
		{"ReadModelsAreKeptApart", readModelsAreKeptApart},
	}
}

var (
	plainTable = driver.TableSpec{Name: "Test.Plain"}
	ownTable   = driver.TableSpec{Name: "Test.Own", OwnRow: true}
	subTable   = driver.TableSpec{Name: "Test.Lines", SubID: "line"}
	shopTable  = driver.TableSpec{Name: "Test.Goods", SubID: "line", Indexes: []driver.Index{
		{Name: "byColor", Key: driver.Field{Name: "color"}},
		{Name: "byShop", Key: driver.Field{Name: "shop", Number: true}, Sort: &driver.Field{Name: "price", Number: true}},
	}}
)

func (e *env) table(spec driver.TableSpec) driver.QueryDb {
	e.Helper()
	db, err := e.Provider.OpenQueryDb(e.ctx, spec)
	e.must(err, "OpenQueryDb(%q)", spec.Name)
	return db
}

// rowOf is a row of a table without sub ids.
func rowOf(id, data string) driver.Row {
	return driver.Row{Key: driver.Key{ID: id}, Data: json.RawMessage(data)}
}

// numbered is a row whose data is the number n.
func numbered(id string, n int) driver.Row { return rowOf(id, fmt.Sprintf(`{"n":%d}`, n)) }

// lineOf is a row of a table whose sub id field is "line".
func lineOf(id, sub string, n int) driver.Row {
	q, _ := json.Marshal(sub)
	return driver.Row{Key: driver.Key{ID: id, Sub: sub}, Data: json.RawMessage(fmt.Sprintf(`{"line":%s,"n":%d}`, q, n))}
}

func (e *env) save(db driver.QueryDb, rows ...driver.Row) {
	e.Helper()
	for _, r := range rows {
		e.must(db.Save(e.ctx, r, driver.Any), "Save(%s)", short(r.Key.String()))
	}
}

// row returns a row, nil when it is absent, and checks that all reads agree.
// Nobody may write meanwhile.
func (e *env) row(db driver.QueryDb, key driver.Key) *driver.Row {
	e.Helper()
	what := short(key.String())
	var one *driver.Row
	r, err := db.LoadRow(e.ctx, key)
	switch {
	case err == nil:
		one = &r
	case !e.wantClass(err, driver.ErrNotFound, "LoadRow(%s)", what):
		return nil
	}
	rows, err := db.Load(e.ctx, key.ID)
	e.try(err, "Load(%s)", what)
	e.agree("Load", what, key, one, rows)
	if len(rows) == 0 && rows != nil {
		e.Errorf("Load(%s) of nothing is not nil", what)
	}
	rows, err = db.LoadRows(e.ctx, []driver.Key{key})
	e.try(err, "LoadRows(%s)", what)
	e.agree("LoadRows", what, key, one, rows)
	if one != nil && one.Revision == 0 {
		e.Errorf("the row %s has the revision 0", what)
	}
	return one
}

func (e *env) agree(method, what string, key driver.Key, one *driver.Row, rows []driver.Row) {
	e.Helper()
	var other *driver.Row
	for i := range rows {
		if rows[i].Key == key {
			other = &rows[i]
		}
	}
	switch {
	case one == nil && other == nil:
	case one == nil || other == nil:
		e.Errorf("LoadRow(%s) has the row: %t, %s has it: %t", what, one != nil, method, other != nil)
	default:
		if d := diffRow(*other, *one); d != "" {
			e.Errorf("%s(%s) and LoadRow differ: %s", method, what, d)
		}
	}
}

// diffRow compares two stored rows.
func diffRow(got, want driver.Row) string {
	switch {
	case got.Key != want.Key:
		return fmt.Sprintf("got the row %s, want %s", short(got.Key.String()), short(want.Key.String()))
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("the data of %s is %s, want %s", short(got.Key.String()), short(string(got.Data)), short(string(want.Data)))
	case !got.ExpiresAt.Equal(want.ExpiresAt) || got.ExpiresAt.IsZero() != want.ExpiresAt.IsZero():
		return fmt.Sprintf("%s expires at %v, want %v", short(got.Key.String()), got.ExpiresAt, want.ExpiresAt)
	case got.Revision != want.Revision:
		return fmt.Sprintf("%s has revision %d, want %d", short(got.Key.String()), got.Revision, want.Revision)
	}
	return ""
}

// wantRow checks a stored row apart from its revision, which it returns.
func (e *env) wantRow(db driver.QueryDb, want driver.Row) uint64 {
	e.Helper()
	got := e.row(db, want.Key)
	if got == nil {
		e.Errorf("the row %s is absent", short(want.Key.String()))
		return 0
	}
	want.Revision = got.Revision
	if d := diffRow(*got, want); d != "" {
		e.Errorf("%s", d)
	}
	return got.Revision
}

func (e *env) wantNoRow(db driver.QueryDb, key driver.Key, why string) {
	e.Helper()
	if got := e.row(db, key); got != nil {
		e.Errorf("the row %s is there, %s", short(key.String()), why)
	}
}

func absentRowsReadAsAbsent(e *env) {
	for _, spec := range []driver.TableSpec{plainTable, subTable} {
		db := e.table(spec)
		key := driver.Key{ID: "nobody"}
		if spec.SubID != "" {
			key.Sub = "x"
		}
		check := func() {
			e.Helper()
			e.wantNoRow(db, key, "nobody saved it")
			if rows, err := db.LoadRows(e.ctx, nil); rows != nil || err != nil {
				e.Errorf("LoadRows of no keys = %v, %v, want nil, nil", rows, err)
			}
			if rows, err := db.LoadRows(e.ctx, []driver.Key{key, key}); rows != nil || err != nil {
				e.Errorf("LoadRows of absent keys = %v, %v, want nil, nil", rows, err)
			}
			if rows, err := db.Load(e.ctx, key.ID); rows != nil || err != nil {
				e.Errorf("Load of an absent id = %v, %v, want nil, nil", rows, err)
			}
		}
		check()
		if spec.SubID == "" {
			e.save(db, numbered("somebody", 1), numbered("nobody2", 1))
		} else {
			e.save(db, lineOf("somebody", "x", 1), lineOf("nobody2", "x", 1))
		}
		check()
	}
	db := e.table(subTable)
	e.save(db, lineOf("a", "x", 1))
	e.wantNoRow(db, driver.Key{ID: "a", Sub: "y"}, "only x of its id was saved")
}

func loadIsAscendingBySubID(e *env) {
	db := e.table(subTable)
	subs := append(goodIDs(), "B", "a0", "zz", "\uffee", "\U00010000")
	for i := range 250 {
		subs = append(subs, fmt.Sprintf("many-%d", i))
	}
	for i, sub := range subs {
		e.save(db, lineOf("id", sub, i))
	}
	e.save(db, lineOf("ic", "x", 1), lineOf("ie", "x", 1), lineOf("id ", "x", 1))
	slices.Sort(subs) // by the bytes of their UTF-8
	rows, err := db.Load(e.ctx, "id")
	e.must(err, "Load")
	if len(rows) != len(subs) {
		e.Errorf("Load returned %d rows, want %d", len(rows), len(subs))
	}
	for i := range min(len(rows), len(subs)) {
		if rows[i].Sub != subs[i] || rows[i].ID != "id" {
			e.Fatalf("row %d is %s of %q, want %s", i, short(rows[i].Sub), rows[i].ID, short(subs[i]))
		}
	}
}

func loadRowsReturnsEachRowOnce(e *env) {
	db := e.table(subTable)
	var keys []driver.Key
	want := map[driver.Key]driver.Row{}
	for i := range 130 { // more than one page of any store
		r := lineOf(fmt.Sprintf("id%d", i/3), fmt.Sprintf("s%d", i%3), i)
		keys = append(keys, r.Key)
		if i%4 != 0 {
			e.save(db, r)
			want[r.Key] = r
		}
	}
	keys = append(keys, keys[1], keys[2], keys[0], driver.Key{ID: "nobody", Sub: "s"}, keys[1])
	rows, err := db.LoadRows(e.ctx, keys)
	e.must(err, "LoadRows")
	seen := map[driver.Key]bool{}
	for _, r := range rows {
		w, ok := want[r.Key]
		if !ok || seen[r.Key] {
			e.Errorf("LoadRows returned %s twice or without being asked", short(r.Key.String()))
		}
		seen[r.Key] = true
		if !bytes.Equal(r.Data, w.Data) {
			e.Errorf("LoadRows returned %s for %s, want %s", r.Data, short(r.Key.String()), w.Data)
		}
	}
	if len(seen) != len(want) {
		e.Errorf("LoadRows returned %d rows, want %d", len(seen), len(want))
	}
}

func readsSeeEveryWrite(e *env) {
	db, other := e.table(subTable), e.table(subTable)
	race(8, func(i int) {
		id := fmt.Sprintf("id%d", i)
		key := driver.Key{ID: id, Sub: "s"}
		for n := range 15 {
			if !e.try(db.Save(e.ctx, lineOf(id, "s", n), driver.Any), "Save") {
				return
			}
			e.wantRow(other, lineOf(id, "s", n))
			if n%5 == 4 {
				if !e.try(db.Delete(e.ctx, key), "Delete") {
					return
				}
				e.wantNoRow(other, key, "though its delete returned")
			}
			if e.Failed() {
				return
			}
		}
	})
}

// oddObjects are objects that an encoder would write in another way.
func oddObjects() []string {
	var objects []string
	for _, text := range oddJSON() {
		if strings.HasPrefix(strings.TrimSpace(text), "{") {
			objects = append(objects, text)
		}
	}
	return objects
}

func dataIsKeptByteForByte(e *env) {
	db := e.table(plainTable)
	for i, text := range oddObjects() {
		e.save(db, rowOf(fmt.Sprintf("id%d", i), text))
		e.must(db.SaveBatch(e.ctx, []driver.Row{rowOf(fmt.Sprintf("batch%d", i), text)}), "SaveBatch")
		e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: rowOf(fmt.Sprintf("step%d", i), text)}}}), "Apply")
	}
	for i, text := range oddObjects() {
		for _, id := range []string{"id", "batch", "step"} {
			e.wantRow(db, rowOf(fmt.Sprintf("%s%d", id, i), text))
		}
	}
}

func rowIDsAreKeptApart(e *env) {
	plain, sub := e.table(plainTable), e.table(subTable)
	ids := goodIDs()
	for i, id := range ids {
		e.try(plain.Save(e.ctx, numbered(id, i), driver.Init), "Save of the id %s", short(id))
		e.try(sub.Save(e.ctx, lineOf(id, ids[len(ids)-1-i], i), driver.Init), "Save of the id %s", short(id))
	}
	for i, id := range ids {
		e.wantRow(plain, numbered(id, i))
		e.wantRow(sub, lineOf(id, ids[len(ids)-1-i], i))
	}
	// The same text, cut in another place.
	for i, k := range []driver.Key{{ID: "a/b", Sub: "c"}, {ID: "a", Sub: "b/c"}, {ID: "a#b", Sub: "c"}, {ID: "a", Sub: "b#c"}, {ID: "a|b", Sub: "c"}, {ID: "a", Sub: "b|c"}, {ID: "ab", Sub: "c"}, {ID: "a", Sub: "bc"}} {
		e.try(sub.Save(e.ctx, lineOf(k.ID, k.Sub, i), driver.Init), "Save of %v", k)
	}
}

func badRowsAreRefused(e *env) {
	db, plain := e.table(shopTable), e.table(plainTable)
	good := driver.Key{ID: "id", Sub: "s"}
	type bad struct {
		name  string
		field string // must be named by the error
		row   driver.Row
	}
	rows := []bad{
		{"data that is nil", "", driver.Row{Key: good}},
		{"a sub id field that is absent", "line", driver.Row{Key: good, Data: []byte(`{}`)}},
		{"a sub id field that is null", "line", driver.Row{Key: good, Data: []byte(`{"line":null}`)}},
		{"a sub id field that is a number", "line", driver.Row{Key: driver.Key{ID: "id", Sub: "1"}, Data: []byte(`{"line":1}`)}},
		{"another sub id field", "line", driver.Row{Key: good, Data: []byte(`{"line":"t"}`)}},
		{"a sub id field that is one in another case", "line", driver.Row{Key: good, Data: []byte(`{"Line":"s"}`)}},
		{"no sub id in a table with sub ids", "", driver.Row{Key: driver.Key{ID: "id"}, Data: []byte(`{"line":""}`)}},
	}
	for _, text := range []string{``, `null`, `[]`, `"x"`, `1`, `true`, `{`, `{"line":"s"`, `{"line":"s"} {}`, `{"line":"s"}x`, `{'line':'s'}`, `{"line":"s",}`} {
		rows = append(rows, bad{"the data " + text, "", driver.Row{Key: good, Data: []byte(text)}})
	}
	for _, v := range []string{`1`, `true`, `{}`, `["red"]`, `{"a":"red"}`} {
		rows = append(rows, bad{"the color " + v, "color", driver.Row{Key: good, Data: []byte(`{"line":"s","color":` + v + `}`)}})
	}
	for _, v := range []string{`"1"`, `true`, `{}`, `[1]`} {
		rows = append(rows,
			bad{"the shop " + v, "shop", driver.Row{Key: good, Data: []byte(`{"line":"s","shop":` + v + `,"price":1}`)}},
			bad{"the price " + v, "price", driver.Row{Key: good, Data: []byte(`{"line":"s","shop":1,"price":` + v + `}`)}},
			bad{"only the price " + v, "price", driver.Row{Key: good, Data: []byte(`{"line":"s","price":` + v + `}`)}})
	}
	for name, id := range badIDs() {
		rows = append(rows, bad{"an id that is " + name, "", lineOf(id, "s", 1)}, bad{"a sub id that is " + name, "", lineOf("id", id, 1)})
	}
	for _, b := range rows {
		for _, mode := range []driver.SaveMode{driver.Any, driver.Init} {
			err := db.Save(e.ctx, b.row, mode)
			if e.wantClass(err, driver.ErrInvalid, "Save with %s, mode %s", b.name, mode) && !strings.Contains(err.Error(), b.field) {
				e.Errorf("Save with %s: the error %q does not name the field %q", b.name, err, b.field)
			}
		}
		failed := failedOf(e, db.SaveBatch(e.ctx, []driver.Row{lineOf("other", "s", 1), b.row}), "SaveBatch with "+b.name)
		e.wantClass(failed[b.row.Key.String()], driver.ErrInvalid, "SaveBatch with %s", b.name)
		e.wantClass(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: lineOf("step", "s", 1)}, {Row: b.row}}}), driver.ErrInvalid, "Apply with %s", b.name)
	}
	if rows, err := db.Load(e.ctx, "id"); err != nil || rows != nil {
		e.Errorf("of the refused rows %d are stored, %v", len(rows), err)
	}
	e.wantNoRow(db, driver.Key{ID: "step", Sub: "s"}, "though its step was refused")
	e.wantRow(db, lineOf("other", "s", 1))

	withSub := driver.Row{Key: driver.Key{ID: "id", Sub: "s"}, Data: []byte(`{"n":1}`)}
	e.wantClass(plain.Save(e.ctx, withSub, driver.Any), driver.ErrInvalid, "Save with a sub id in a table without them")
	if rows, err := plain.Load(e.ctx, "id"); err != nil || rows != nil {
		e.Errorf("of the refused rows %d are stored, %v", len(rows), err)
	}
}

func indexFieldsMayBeAbsent(e *env) {
	db := e.table(shopTable)
	for i, rest := range []string{
		``, `,"color":null`, `,"color":""`, `,"color":"red"`, `,"shop":1`, `,"price":1`, `,"shop":null,"price":null`,
		`,"shop":1,"price":null`, `,"shop":0,"price":-0.5e-3`, `,"Color":1`, `,"nested":{"color":1}`,
	} {
		r := driver.Row{Key: driver.Key{ID: "id", Sub: fmt.Sprintf("s%d", i)}, Data: []byte(fmt.Sprintf(`{"line":"s%d"%s}`, i, rest))}
		if e.try(db.Save(e.ctx, r, driver.Any), "Save of %s", r.Data) {
			e.wantRow(db, r)
		}
	}
}

func rowsUpToTheLimitAreStored(e *env) {
	db := e.table(shopTable)
	limit := e.testableLimit("MaxRowBytes", e.Provider.Limits().MaxRowBytes)
	big := func(sub string) driver.Row {
		return driver.Row{Key: driver.Key{ID: "id", Sub: sub}, Data: []byte(`{"line":"` + sub + `","color":"red","fill":"` + strings.Repeat("x", almost(limit)) + `"}`)}
	}
	e.must(db.Save(e.ctx, big("a"), driver.Init), "Save just under the limit of %d", limit)
	e.must(db.SaveBatch(e.ctx, []driver.Row{big("b"), big("c"), big("d")}), "SaveBatch just under the limit of %d", limit)
	e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: big("e")}}}), "Apply just under the limit of %d", limit)
	rows, err := db.Load(e.ctx, "id") // more than a page of 1 MB
	e.must(err, "Load")
	if len(rows) != 5 {
		e.Errorf("Load returned %d rows, want 5", len(rows))
	}
	for i, r := range rows {
		if want := big(string(rune('a' + i))); r.Key != want.Key || !bytes.Equal(r.Data, want.Data) {
			e.Errorf("row %d is %s with %d bytes, want %s with %d", i, short(r.Key.String()), len(r.Data), short(want.Key.String()), len(want.Data))
		}
	}
}

func rowsOverTheLimitAreRefused(e *env) {
	db := e.table(subTable)
	limit := e.testableLimit("MaxRowBytes", e.Provider.Limits().MaxRowBytes)
	e.save(db, lineOf("id", "s", 1))
	big := driver.Row{Key: driver.Key{ID: "id", Sub: "s"}, Data: []byte(`{"line":"s","fill":"` + strings.Repeat("x", limit) + `"}`)}
	e.wantTooLarge(db.Save(e.ctx, big, driver.Any), "row", limit, "Save")
	e.wantTooLarge(db.Save(e.ctx, big, driver.Overwrite), "row", limit, "Save with Overwrite")
	failed := failedOf(e, db.SaveBatch(e.ctx, []driver.Row{lineOf("other", "a", 1), big, lineOf("other", "b", 1)}), "SaveBatch")
	e.wantTooLarge(failed[big.Key.String()], "row", limit, "SaveBatch")
	if len(failed) != 1 {
		e.Errorf("SaveBatch: %d rows failed, want 1", len(failed))
	}
	e.wantRow(db, lineOf("other", "a", 1))
	e.wantRow(db, lineOf("other", "b", 1))
	e.wantTooLarge(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 0, 1)}, Writes: []driver.RowWrite{{Row: big}}}), "row", limit, "Apply")
	e.wantWatermark(db, streamKey("s"), 0, false)
	e.wantRow(db, lineOf("id", "s", 1))
}

func saveModesAreEnforced(e *env) {
	db := e.table(plainTable)
	key := driver.Key{ID: "id"}
	e.wantClass(db.Save(e.ctx, numbered("id", 1), driver.Overwrite), driver.ErrNotFound, "Overwrite of an absent row")
	e.wantNoRow(db, key, "though Overwrite was refused")
	e.must(db.Save(e.ctx, numbered("id", 2), driver.Init), "Init of an absent row")
	e.wantRow(db, numbered("id", 2))
	e.wantClass(db.Save(e.ctx, numbered("id", 3), driver.Init), driver.ErrExists, "Init of a present row")
	rev := e.wantRow(db, numbered("id", 2))
	e.must(db.Save(e.ctx, numbered("id", 4), driver.Overwrite), "Overwrite of a present row")
	if now := e.wantRow(db, numbered("id", 4)); now <= rev {
		e.Errorf("Overwrite took the revision from %d to %d", rev, now)
	}
	e.must(db.Save(e.ctx, numbered("id", 5), driver.Any), "Any of a present row")
	e.wantRow(db, numbered("id", 5))
	e.must(db.Delete(e.ctx, key), "Delete")
	e.wantClass(db.Save(e.ctx, numbered("id", 6), driver.Overwrite), driver.ErrNotFound, "Overwrite of a deleted row")
	e.wantNoRow(db, key, "though Overwrite was refused")
	e.must(db.Save(e.ctx, numbered("id", 7), driver.Init), "Init of a deleted row")
	e.wantRow(db, numbered("id", 7))
	e.must(db.Delete(e.ctx, key), "Delete")
	e.must(db.Save(e.ctx, numbered("id", 8), driver.Any), "Any of an absent row")
	e.wantRow(db, numbered("id", 8))

	sub := e.table(subTable)
	e.save(sub, lineOf("id", "a", 1))
	e.wantClass(sub.Save(e.ctx, lineOf("id", "b", 1), driver.Overwrite), driver.ErrNotFound, "Overwrite of an absent sub id")
	e.must(sub.Save(e.ctx, lineOf("id", "b", 2), driver.Init), "Init of an absent sub id")
	e.wantClass(sub.Save(e.ctx, lineOf("id", "a", 3), driver.Init), driver.ErrExists, "Init of a present sub id")
}

func oneWinnerOfEightConcurrentInits(e *env) {
	db := e.table(plainTable)
	for round := range 20 {
		id := fmt.Sprintf("id%d", round)
		errs := make([]error, 8)
		race(8, func(i int) { errs[i] = db.Save(e.ctx, numbered(id, i), driver.Init) })
		winner, won := -1, 0
		for i, err := range errs {
			if err == nil {
				winner = i
				won++
				continue
			}
			e.wantClass(err, driver.ErrExists, "racer %d", i)
		}
		if won != 1 {
			e.Fatalf("%d of 8 concurrent Inits of one row won, want 1", won)
		}
		e.wantRow(db, numbered(id, winner))
	}
}

// writers are the ways to write the row "id" of the plain table.
func writers(e *env, db driver.QueryDb) map[string]func() {
	return map[string]func(){
		"Save":      func() { e.save(db, numbered("id", 1)) },
		"SaveBatch": func() { e.must(db.SaveBatch(e.ctx, []driver.Row{numbered("id", 1)}), "SaveBatch") },
		"Apply": func() {
			e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: numbered("id", 1)}}}), "Apply")
		},
		"Count":          func() { _, err := db.Count(e.ctx, driver.Key{ID: "id"}, "n", 1); e.must(err, "Count") },
		"Count of 0":     func() { _, err := db.Count(e.ctx, driver.Key{ID: "id"}, "n", 0); e.must(err, "Count") },
		"the same again": func() { e.save(db, numbered("id", 1)) },
	}
}

func (e *env) revision(db driver.QueryDb, id string) uint64 {
	e.Helper()
	r, err := db.LoadRow(e.ctx, driver.Key{ID: id})
	e.must(err, "LoadRow(%s)", id)
	if r.Revision == 0 {
		e.Errorf("%s has the revision 0, want 1 at least", id)
	}
	return r.Revision
}

func revisionsGrowWithEveryWrite(e *env) {
	db := e.table(plainTable)
	e.save(db, numbered("id", 0))
	last := e.revision(db, "id")
	write := func(name string, f func()) {
		f()
		if now := e.revision(db, "id"); now <= last {
			e.Errorf("%s took the revision from %d to %d", name, last, now)
		} else {
			last = now
		}
	}
	for range 3 {
		for name, f := range writers(e, db) {
			write(name, f)
		}
	}
	write("Overwrite", func() { e.must(db.Save(e.ctx, numbered("id", 2), driver.Overwrite), "Overwrite") })
	write("a guarded write", func() {
		e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: numbered("id", 1), Guard: true, Expect: last}}}), "Apply")
	})
	// The revision of a row that is given is ignored.
	write("Save of a row with a revision", func() {
		r := numbered("id", 3)
		r.Revision = 1
		e.save(db, r)
	})
	write("Apply of a row with a revision", func() {
		r := numbered("id", 3)
		r.Revision = last + 1000
		e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: r}}}), "Apply")
	})
	// A row that was not written keeps its revision.
	e.save(db, numbered("other", 1))
	if now := e.revision(db, "id"); now != last {
		e.Errorf("a write to another row took the revision from %d to %d", last, now)
	}
}

func revisionsAreNotReusedAfterDelete(e *env) {
	db := e.table(plainTable)
	key := driver.Key{ID: "id"}
	seen := map[uint64]string{}
	note := func(after string) {
		rev := e.revision(db, "id")
		if before, ok := seen[rev]; ok {
			e.Errorf("the revision %d after %s is that of %s", rev, after, before)
		}
		seen[rev] = after
	}
	deletes := map[string]func() error{
		"Delete":      func() error { return db.Delete(e.ctx, key) },
		"DeleteAll":   func() error { return db.DeleteAll(e.ctx, "id") },
		"DeleteBatch": func() error { return db.DeleteBatch(e.ctx, []driver.Key{key}) },
		"Apply": func() error {
			return db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: driver.Row{Key: key}, Delete: true}}})
		},
		"Clear": func() error { return db.Clear(e.ctx) },
	}
	for gone, remove := range deletes {
		for name, write := range writers(e, db) {
			for n := range 3 {
				write()
				note(fmt.Sprintf("%s and %s, write %d", gone, name, n))
			}
			e.must(remove(), "%s", gone)
			e.wantNoRow(db, key, "after "+gone)
		}
	}
}

func revisionsAreNotReusedAfterExpiry(e *env) {
	e.needClock()
	db := e.table(plainTable)
	seen := map[uint64]bool{}
	for name, write := range writers(e, db) {
		for range 3 {
			write()
			rev := e.revision(db, "id")
			if seen[rev] {
				e.Errorf("the revision %d came again after the row had expired and %s", rev, name)
			}
			seen[rev] = true
		}
		r := numbered("id", 1)
		r.ExpiresAt = e.Now().Add(time.Minute).Truncate(time.Second)
		e.save(db, r)
		seen[e.revision(db, "id")] = true
		e.advance(2 * time.Minute)
		e.wantNoRow(db, r.Key, "though it has expired")
	}
}

func revisionsAreNotReusedAfterReopening(e *env) {
	e.needReopen()
	db := e.table(plainTable)
	seen := map[uint64]bool{}
	for round := range 3 {
		for range 4 {
			e.save(db, numbered("id", 1))
			rev := e.revision(db, "id")
			if seen[rev] {
				e.Errorf("the revision %d came again after reopening %d times", rev, round)
			}
			seen[rev] = true
		}
		e.must(db.Delete(e.ctx, driver.Key{ID: "id"}), "Delete")
		e.reopen()
		db = e.table(plainTable)
	}
}

func saveBatchWritesEveryRow(e *env) {
	db := e.table(subTable)
	e.must(db.SaveBatch(e.ctx, nil), "SaveBatch of nil")
	e.must(db.SaveBatch(e.ctx, []driver.Row{}), "SaveBatch of nothing")
	e.save(db, lineOf("id3", "s1", -1)) // one is there before
	var rows []driver.Row
	for i := range 130 {
		rows = append(rows, lineOf(fmt.Sprintf("id%d", i/7), fmt.Sprintf("s%d", i%7), i))
	}
	e.must(db.SaveBatch(e.ctx, rows), "SaveBatch of %d rows", len(rows))
	for _, r := range rows {
		e.wantRow(db, r)
	}
}

func saveBatchLetsTheLaterRowWin(e *env) {
	db := e.table(plainTable)
	var rows []driver.Row
	for i := range 70 {
		rows = append(rows, numbered(fmt.Sprintf("id%d", i%7), i))
	}
	e.must(db.SaveBatch(e.ctx, rows), "SaveBatch")
	for i := range 7 {
		e.wantRow(db, numbered(fmt.Sprintf("id%d", i), 63+i))
	}
}

func saveBatchNamesTheRowsThatFailed(e *env) {
	db := e.table(shopTable)
	var rows []driver.Row
	bad := map[string]bool{}
	for i := range 60 {
		r := lineOf(fmt.Sprintf("id%d", i), "s", i)
		if i%9 == 4 {
			r.Data = []byte(`{"line":"s","color":1}`)
			bad[r.Key.String()] = true
		}
		rows = append(rows, r)
	}
	err := db.SaveBatch(e.ctx, rows)
	failed := failedOf(e, err, "SaveBatch")
	if !errors.Is(err, driver.ErrInvalid) {
		e.Errorf("the class of the members' errors is not found in %v", err)
	}
	for _, r := range rows {
		key := r.Key.String()
		if bad[key] {
			e.wantClass(failed[key], driver.ErrInvalid, "the row %q", key)
			e.wantNoRow(db, r.Key, "though it failed")
			continue
		}
		if failed[key] != nil {
			e.Errorf("the good row %q failed: %v", key, failed[key])
		}
		e.wantRow(db, r)
	}
	if len(failed) != len(bad) {
		e.Errorf("%d rows failed, want %d", len(failed), len(bad))
	}
}

func countIsAtomic(e *env) {
	db := e.table(plainTable)
	const racers, each = 8, 50
	values := make([][]int64, racers)
	race(racers, func(i int) {
		last := int64(0)
		for range each {
			v, err := db.Count(e.ctx, driver.Key{ID: "id"}, "n", 1)
			if !e.try(err, "Count") {
				return
			}
			if v <= last {
				e.Errorf("Count returned %d after %d", v, last)
			}
			last = v
			values[i] = append(values[i], v)
		}
	})
	all := slices.Concat(values...)
	slices.Sort(all)
	for i, v := range all {
		if v != int64(i+1) {
			e.Errorf("%d counts returned %d where each of 1 to %d is due once", racers*each, v, racers*each)
			break
		}
	}
	if v, err := db.Count(e.ctx, driver.Key{ID: "id"}, "n", 0); err != nil || v != racers*each {
		e.Errorf("after %d counts the value is %d, %v", racers*each, v, err)
	}
}

func countIsAtomicAgainstOtherWrites(e *env) {
	db := e.table(plainTable)
	key := driver.Key{ID: "id"}
	e.save(db, rowOf("id", `{"counted":0,"applied":0}`))
	const each = 25
	race(6, func(i int) {
		for range each {
			if i%2 == 0 {
				_, err := db.Count(e.ctx, key, "counted", 1)
				e.try(err, "Count")
				continue
			}
			if !e.guarded(db, key, nil, func(v map[string]json.Number) { v["applied"] = plusOne(v["applied"]) }) {
				return
			}
		}
	})
	r := e.row(db, key)
	if r == nil {
		e.Fatalf("the row is absent")
		return
	}
	var got map[string]json.Number
	e.must(json.Unmarshal(r.Data, &got), "decode %s", r.Data)
	if got["counted"] != json.Number(strconv.Itoa(3*each)) || got["applied"] != got["counted"] {
		e.Errorf("after %d counts and as many guarded writes the row is %s", 3*each, r.Data)
	}
}

func plusOne(n json.Number) json.Number {
	v, _ := n.Int64()
	return json.Number(strconv.FormatInt(v+1, 10))
}

// guarded changes a row of numbers by guarded steps until one succeeds. With a
// stream the step moves its watermark by one.
func (e *env) guarded(db driver.QueryDb, key driver.Key, stream *driver.StreamKey, change func(map[string]json.Number)) bool {
	return e.poll("a guarded step to win", func() (bool, bool) {
		step := driver.Step{}
		if stream != nil {
			w, err := db.Watermark(e.ctx, *stream)
			if !e.try(err, "Watermark") {
				return true, false
			}
			step.Advances = []driver.Advance{{StreamKey: *stream, From: w.SequenceNr, To: w.SequenceNr + 1}}
		}
		v := map[string]json.Number{}
		r, err := db.LoadRow(e.ctx, key)
		switch {
		case err == nil:
			if !e.try(json.Unmarshal(r.Data, &v), "decode %s", r.Data) {
				return true, false
			}
		case !errors.Is(err, driver.ErrNotFound):
			e.Errorf("LoadRow: %v", err)
			return true, false
		}
		change(v)
		data, err := json.Marshal(v)
		if !e.try(err, "encode") {
			return true, false
		}
		step.Writes = []driver.RowWrite{{Row: driver.Row{Key: key, Data: data}, Guard: true, Expect: r.Revision}}
		err = db.Apply(e.ctx, step)
		if err != nil && !errors.Is(err, driver.ErrConflict) {
			e.Errorf("Apply: %v", err)
			return true, false
		}
		return err == nil, true
	})
}

func countCreatesWhatIsAbsent(e *env) {
	plain, sub := e.table(plainTable), e.table(subTable)
	count := func(db driver.QueryDb, key driver.Key, field string, inc, want int64) {
		e.Helper()
		got, err := db.Count(e.ctx, key, field, inc)
		if err != nil || got != want {
			e.Errorf("Count(%q, %q, %d) = %d, %v, want %d", key, field, inc, got, err, want)
		}
	}
	has := func(db driver.QueryDb, key driver.Key, want string) {
		e.Helper()
		r := e.row(db, key)
		if r == nil || !sameJSON(r.Data, []byte(want)) {
			e.Errorf("after Count the row is %v, want %s", r, want)
		}
	}
	a := driver.Key{ID: "a"}
	count(plain, a, "n", 5, 5)
	has(plain, a, `{"n":5}`)
	count(plain, a, "n", -8, -3)
	count(plain, a, "m", 0, 0)
	count(plain, a, "ä.b\"$", 1, 1)
	has(plain, a, `{"n":-3,"m":0,"ä.b\"$":1}`)
	count(plain, a, "big", 1<<53, 1<<53)
	count(plain, a, "big", 1, 1<<53+1) // more than a double holds
	count(plain, a, "big", 1<<61, 1<<61+1<<53+1)

	line := driver.Key{ID: "a", Sub: "x \" y"}
	count(sub, line, "n", 2, 2)
	has(sub, line, `{"line":"x \" y","n":2}`)
	count(sub, line, "n", 2, 4)
	has(sub, line, `{"line":"x \" y","n":4}`)
	e.wantNoRow(sub, driver.Key{ID: "a", Sub: "x"}, "nobody counted it")

	e.must(plain.Delete(e.ctx, a), "Delete")
	count(plain, a, "n", 1, 1)
	has(plain, a, `{"n":1}`)
	for name, id := range badIDs() {
		_, err := plain.Count(e.ctx, driver.Key{ID: id}, "n", 1)
		e.wantClass(err, driver.ErrInvalid, "Count on an id that is %s", name)
	}
}

func countKeepsTheRestOfTheRow(e *env) {
	db := e.table(plainTable)
	r := rowOf("id", `{"big":12345678901234567890.10,"html":"<a>&","list":[1,{"n":7}],"n":1,"null":null,"u":"\u2028"}`)
	if e.Advance != nil {
		r.ExpiresAt = e.Now().Add(time.Hour).Truncate(time.Second)
	}
	e.save(db, r)
	if v, err := db.Count(e.ctx, r.Key, "n", 2); err != nil || v != 3 {
		e.Errorf("Count = %d, %v, want 3", v, err)
	}
	got := e.row(db, r.Key)
	if got == nil {
		e.Fatalf("the row is absent after Count")
		return
	}
	want := strings.Replace(string(r.Data), `"n":1,"null"`, `"n":3,"null"`, 1)
	if !sameJSON(got.Data, []byte(want)) {
		e.Errorf("after Count the row is %s, want %s", got.Data, want)
	}
	if !got.ExpiresAt.Equal(r.ExpiresAt) {
		e.Errorf("after Count the row expires at %v, want %v", got.ExpiresAt, r.ExpiresAt)
	}
}

func countRefusesWhatIsNotAWholeNumber(e *env) {
	db := e.table(plainTable)
	for i, v := range []string{`"1"`, `1.5`, `true`, `[]`, `{}`, `""`, `1e-1`} {
		r := rowOf(fmt.Sprintf("id%d", i), `{"n":`+v+`,"m":1}`)
		e.save(db, r)
		_, err := db.Count(e.ctx, r.Key, "n", 1)
		e.wantClass(err, driver.ErrInvalid, "Count of %s", v)
		e.wantRow(db, r)
	}
}

func deleteRemovesOneRow(e *env) {
	db := e.table(subTable)
	e.save(db, lineOf("a", "x", 1), lineOf("a", "y", 2), lineOf("b", "x", 3))
	e.must(db.Delete(e.ctx, driver.Key{ID: "a", Sub: "x"}), "Delete")
	e.must(db.Delete(e.ctx, driver.Key{ID: "a", Sub: "x"}), "Delete of a deleted row")
	e.must(db.Delete(e.ctx, driver.Key{ID: "nobody", Sub: "x"}), "Delete of an absent row")
	e.wantNoRow(db, driver.Key{ID: "a", Sub: "x"}, "though it was deleted")
	e.wantNoRow(db, driver.Key{ID: "nobody", Sub: "x"}, "though it was deleted")
	e.wantRow(db, lineOf("a", "y", 2))
	e.wantRow(db, lineOf("b", "x", 3))
}

func deleteAllRemovesTheRowsOfAnID(e *env) {
	db := e.table(subTable)
	for i := range 130 {
		e.save(db, lineOf("a", fmt.Sprintf("s%d", i), i))
	}
	e.save(db, lineOf("a ", "s1", 1), lineOf("aa", "s1", 2), lineOf("A", "s1", 3))
	e.must(db.DeleteAll(e.ctx, "a"), "DeleteAll")
	e.must(db.DeleteAll(e.ctx, "a"), "DeleteAll of a deleted id")
	e.must(db.DeleteAll(e.ctx, "nobody"), "DeleteAll of an absent id")
	if rows, err := db.Load(e.ctx, "a"); rows != nil || err != nil {
		e.Errorf("after DeleteAll Load = %d rows, %v, want nil, nil", len(rows), err)
	}
	e.wantRow(db, lineOf("a ", "s1", 1))
	e.wantRow(db, lineOf("aa", "s1", 2))
	e.wantRow(db, lineOf("A", "s1", 3))
}

func deleteBatchRemovesEveryRow(e *env) {
	db := e.table(subTable)
	var keys []driver.Key
	for i := range 130 {
		r := lineOf(fmt.Sprintf("id%d", i%9), fmt.Sprintf("s%d", i), i)
		e.save(db, r)
		if i%10 != 0 {
			keys = append(keys, r.Key)
		}
	}
	e.must(db.DeleteBatch(e.ctx, nil), "DeleteBatch of nil")
	keys = append(keys, keys[3], driver.Key{ID: "nobody", Sub: "x"})
	e.must(db.DeleteBatch(e.ctx, keys), "DeleteBatch of %d keys", len(keys))
	for i := range 130 {
		r := lineOf(fmt.Sprintf("id%d", i%9), fmt.Sprintf("s%d", i), i)
		if i%10 == 0 {
			e.wantRow(db, r)
		} else {
			e.wantNoRow(db, r.Key, "though it was deleted")
		}
	}
}

func expiredRowsAreAbsentInEveryRespect(e *env) {
	e.needClock()
	db, sub := e.table(plainTable), e.table(subTable)
	end := e.Now().Truncate(time.Second).Add(time.Minute)
	ids := []string{"read", "overwrite", "init", "count", "guard0", "guard", "delete", "deleteAll", "batch", "any", "own"}
	rev := map[string]uint64{}
	for i, id := range ids {
		r := numbered(id, i)
		r.ExpiresAt = end
		e.save(db, r)
		rev[id] = e.wantRow(db, r)
	}
	brief, lasting := lineOf("id", "brief", 1), lineOf("id", "lasting", 2)
	brief.ExpiresAt = end
	e.save(sub, brief, lasting)

	e.advance(end.Sub(e.Now()) - time.Second)
	for i, id := range ids {
		r := numbered(id, i)
		r.ExpiresAt = end
		e.wantRow(db, r) // a second before its end
	}
	e.advance(time.Second)
	const why = "though it has expired"
	for _, id := range ids {
		e.wantNoRow(db, driver.Key{ID: id}, why)
	}
	if rows, err := sub.Load(e.ctx, "id"); err != nil || len(rows) != 1 || rows[0].Sub != "lasting" {
		e.Errorf("Load beside an expired row = %d rows, %v, want only the lasting one", len(rows), err)
	}
	e.wantClass(db.Save(e.ctx, numbered("overwrite", 9), driver.Overwrite), driver.ErrNotFound, "Overwrite of an expired row")
	e.wantNoRow(db, driver.Key{ID: "overwrite"}, why)
	e.try(db.Save(e.ctx, numbered("init", 9), driver.Init), "Init of an expired row")
	e.wantRow(db, numbered("init", 9))
	if v, err := db.Count(e.ctx, driver.Key{ID: "count"}, "n", 7); err != nil || v != 7 {
		e.Errorf("Count on an expired row = %d, %v, want 7", v, err)
	}
	if r := e.row(db, driver.Key{ID: "count"}); r == nil || !sameJSON(r.Data, []byte(`{"n":7}`)) || !r.ExpiresAt.IsZero() {
		e.Errorf("Count on an expired row left %v, want a new row that does not expire", r)
	}
	e.wantClass(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: numbered("guard", 9), Guard: true, Expect: rev["guard"]}}}),
		driver.ErrConflict, "a step guarded by the revision of an expired row")
	e.wantNoRow(db, driver.Key{ID: "guard"}, why)
	e.try(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: numbered("guard0", 9), Guard: true}}}), "a step guarded by absence on an expired row")
	e.wantRow(db, numbered("guard0", 9))
	e.try(db.Delete(e.ctx, driver.Key{ID: "delete"}), "Delete of an expired row")
	e.try(db.DeleteAll(e.ctx, "deleteAll"), "DeleteAll of an expired row")
	e.try(db.SaveBatch(e.ctx, []driver.Row{numbered("batch", 9)}), "SaveBatch over an expired row")
	e.wantRow(db, numbered("batch", 9))
	e.save(db, numbered("any", 9))
	e.wantRow(db, numbered("any", 9))
	for _, id := range []string{"init", "count", "guard0", "batch", "any"} {
		if now := e.revision(db, id); now <= rev[id] {
			e.Errorf("the row %q that came again after it expired has revision %d, had %d before", id, now, rev[id])
		}
	}
	// A row that has ended before it is written is absent at once.
	past := numbered("past", 1)
	past.ExpiresAt = e.Now().Truncate(time.Second).Add(-time.Hour)
	e.save(db, past)
	e.wantNoRow(db, past.Key, why)
	past.ID = "any"
	e.save(db, past)
	e.wantNoRow(db, past.Key, why)
	// Nothing comes back.
	e.advance(240 * time.Hour)
	for _, id := range []string{"read", "overwrite", "guard", "delete", "deleteAll", "past", "any"} {
		e.wantNoRow(db, driver.Key{ID: id}, why)
	}
	e.wantRow(sub, lasting)
}

func theLastWriteSetsTheExpiry(e *env) {
	e.needClock()
	db := e.table(plainTable)
	start := e.Now().Truncate(time.Second)
	expiring := func(id string, d time.Duration) driver.Row {
		r := numbered(id, 1)
		if d != 0 {
			r.ExpiresAt = start.Add(d)
		}
		return r
	}
	apply := func(r driver.Row) {
		e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: r}}}), "Apply")
	}
	e.save(db, expiring("longer", time.Minute), expiring("longer", time.Hour))
	e.save(db, expiring("shorter", time.Hour), expiring("shorter", time.Minute))
	e.save(db, expiring("never", time.Minute), expiring("never", 0))
	apply(expiring("step-longer", time.Minute))
	apply(expiring("step-longer", time.Hour))
	apply(expiring("step-never", time.Minute))
	apply(expiring("step-never", 0))
	e.must(db.SaveBatch(e.ctx, []driver.Row{expiring("batch", time.Minute), expiring("batch-never", 0)}), "SaveBatch")
	e.advance(2 * time.Minute)
	e.wantRow(db, expiring("longer", time.Hour))
	e.wantNoRow(db, driver.Key{ID: "shorter"}, "though it has expired")
	e.wantRow(db, expiring("never", 0))
	e.wantRow(db, expiring("step-longer", time.Hour))
	e.wantRow(db, expiring("step-never", 0))
	e.wantNoRow(db, driver.Key{ID: "batch"}, "though it has expired")
	e.wantRow(db, expiring("batch-never", 0))
}

func rowErrorsAreNotEmptyResults(e *env) {
	db := e.table(plainTable)
	e.save(db, numbered("id", 1))
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	key := driver.Key{ID: "id"}
	_, load := db.Load(ctx, "id")
	_, loadRow := db.LoadRow(ctx, key)
	_, loadRows := db.LoadRows(ctx, []driver.Key{key})
	_, count := db.Count(ctx, key, "n", 1)
	for name, err := range map[string]error{
		"Load": load, "LoadRow": loadRow, "LoadRows": loadRows, "Count": count,
		"Save":        db.Save(ctx, numbered("new", 1), driver.Any),
		"Delete":      db.Delete(ctx, driver.Key{ID: "x"}),
		"DeleteAll":   db.DeleteAll(ctx, "x"),
		"Apply":       db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{{Row: numbered("new", 1)}}}),
		"SaveBatch":   db.SaveBatch(ctx, []driver.Row{numbered("new", 1)}),
		"DeleteBatch": db.DeleteBatch(ctx, []driver.Key{{ID: "x"}}),
		"Clear":       db.Clear(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			e.Errorf("%s with a cancelled context = %v, want context.Canceled", name, err)
		}
	}
}

func saveDoesNotKeepItsArguments(e *env) {
	db := e.table(plainTable)
	wipe := func(b []byte) {
		for i := range b {
			b[i] = '!'
		}
	}
	r := numbered("save", 1)
	e.save(db, r)
	batch := []driver.Row{numbered("batch", 2)}
	e.must(db.SaveBatch(e.ctx, batch), "SaveBatch")
	step := driver.Step{Advances: []driver.Advance{advance("s", 0, 1)}, Writes: []driver.RowWrite{{Row: numbered("step", 3)}}}
	e.must(db.Apply(e.ctx, step), "Apply")
	for _, b := range [][]byte{r.Data, batch[0].Data, step.Writes[0].Row.Data} {
		if bytes.Contains(b, []byte("!")) || len(b) == 0 {
			e.Errorf("an argument was changed: %s", b)
		}
		wipe(b)
	}
	step.Advances[0].Stream = "t"
	check := func() {
		e.Helper()
		e.wantRow(db, numbered("save", 1))
		e.wantRow(db, numbered("batch", 2))
		e.wantRow(db, numbered("step", 3))
		e.wantWatermark(db, streamKey("s"), 1, false)
	}
	check()
	for _, id := range []string{"save", "batch", "step"} { // results belong to the caller
		got, err := db.LoadRow(e.ctx, driver.Key{ID: id})
		e.must(err, "LoadRow")
		wipe(got.Data)
		rows, err := db.Load(e.ctx, id)
		e.must(err, "Load")
		wipe(rows[0].Data)
		rows, err = db.LoadRows(e.ctx, []driver.Key{{ID: id}})
		e.must(err, "LoadRows")
		wipe(rows[0].Data)
	}
	check()
}

func rowsSurviveReopening(e *env) {
	e.needReopen()
	db := e.table(shopTable)
	r := driver.Row{Key: driver.Key{ID: "id", Sub: "s"}, Data: []byte(`{ "line":"s", "color":"red" }`), ExpiresAt: e.Now().Add(time.Hour).Truncate(time.Second)}
	e.save(db, r, lineOf("id", "gone", 1), lineOf("id", "t", 2))
	e.must(db.Delete(e.ctx, driver.Key{ID: "id", Sub: "gone"}), "Delete")
	rev := e.wantRow(db, r)
	e.reopen()
	db = e.table(shopTable)
	if got := e.wantRow(db, r); got != rev {
		e.Errorf("the revision is %d, was %d before reopening", got, rev)
	}
	e.wantNoRow(db, driver.Key{ID: "id", Sub: "gone"}, "though it was deleted")
	e.wantRow(db, lineOf("id", "t", 2))
	e.save(db, r)
	if got := e.wantRow(db, r); got <= rev {
		e.Errorf("a write after reopening took the revision from %d to %d", rev, got)
	}
}

func readModelsAreKeptApart(e *env) {
	one, two := e.table(driver.TableSpec{Name: "Test.One"}), e.table(driver.TableSpec{Name: "Test.Two"})
	e.save(one, numbered("id", 1))
	e.wantNoRow(two, driver.Key{ID: "id"}, "only the other read model has it")
	e.must(two.Save(e.ctx, numbered("id", 2), driver.Init), "Init")
	e.must(one.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 0, 5)}}), "Apply")
	e.wantWatermark(two, streamKey("s"), 0, false)
	e.must(one.Clear(e.ctx), "Clear")
	e.wantRow(two, numbered("id", 2))
	var wg sync.WaitGroup
	for i := range 4 { // the handles of one read model share it
		db := e.table(driver.TableSpec{Name: "Test.One"})
		wg.Go(func() { e.try(db.Save(e.ctx, numbered("id"+strconv.Itoa(i), i), driver.Any), "Save") })
	}
	wg.Wait()
	for i := range 4 {
		e.wantRow(one, numbered("id"+strconv.Itoa(i), i))
	}
}
