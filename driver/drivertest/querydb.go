package drivertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestQueryDb runs the suite of [driver.QueryDb], and that of
// [driver.Watermarks] on a read model.
func TestQueryDb(t *testing.T, open Open) { queryDbSuite().run(t, open) }

func queryDbSuite() suite {
	return suite{"QueryDb", slices.Concat(rowProperties(), stepProperties(), watermarksProperties(
		func(e *env) driver.Watermarks { return e.table(plainTable) },
		func(e *env) driver.Watermarks { return e.table(ownTable) },
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
		{"RevisionsGrowWithEveryWrite", revisionsGrowWithEveryWrite},
		{"RevisionsAreNotReused", revisionsAreNotReused},
		{"ExpiredRowsAreAbsentForReaders", expiredRowsAreAbsentForReaders},
		{"ExpiredRowsAreKeptForProjections", expiredRowsAreKeptForProjections},
		{"TheLastWriteSetsTheExpiry", theLastWriteSetsTheExpiry},
		cancelledCallsFail(queryDbCalls),
		{"ArgumentsAreNotKept", applyDoesNotKeepItsArguments},
		{"RowsSurviveReopening", rowsSurviveReopening},
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
	return opened(e, db, err)
}

// rowOf returns a row of a table without sub ids.
func rowOf(id, data string) driver.Row {
	return driver.Row{Key: driver.Key{ID: id}, Data: json.RawMessage(data)}
}

// numbered returns a row whose data is the number n.
func numbered(id string, n int) driver.Row { return rowOf(id, fmt.Sprintf(`{"n":%d}`, n)) }

// lineOf returns a row of a table whose sub id field is "line".
func lineOf(id, sub string, n int) driver.Row {
	q, _ := json.Marshal(sub)
	return driver.Row{Key: driver.Key{ID: id, Sub: sub}, Data: json.RawMessage(fmt.Sprintf(`{"line":%s,"n":%d}`, q, n))}
}

// save writes rows one after the other, each in a step of its own.
func (e *env) save(db driver.QueryDb, rows ...driver.Row) {
	e.Helper()
	for _, r := range rows {
		e.must(e.write(db, put(r)), "write %s", short(r.Key.String()))
	}
}

// fillTable writes rows of different keys in as few steps as the provider takes.
func (e *env) fillTable(db driver.QueryDb, rows []driver.Row) {
	e.Helper()
	for chunk := range slices.Chunk(rows, min(e.Provider.Limits().MaxStep, 500)) {
		var writes []driver.RowWrite
		for _, r := range chunk {
			writes = append(writes, put(r))
		}
		e.must(e.write(db, writes...), "write %d rows", len(writes))
	}
}

// delete deletes rows in one step.
func (e *env) delete(db driver.QueryDb, keys ...driver.Key) {
	e.Helper()
	var writes []driver.RowWrite
	for _, k := range keys {
		writes = append(writes, removal(k))
	}
	e.must(e.write(db, writes...), "delete %d rows", len(keys))
}

// deleteAll deletes the rows of id.
func (e *env) deleteAll(db driver.QueryDb, id string) {
	e.Helper()
	rows, err := db.Load(e.ctx, id)
	e.must(err, "Load(%s)", short(id))
	for chunk := range slices.Chunk(rows, min(e.Provider.Limits().MaxStep, 500)) {
		var keys []driver.Key
		for _, r := range chunk {
			keys = append(keys, r.Key)
		}
		e.delete(db, keys...)
	}
}

// write applies a step of writes without advances.
func (e *env) write(db driver.QueryDb, writes ...driver.RowWrite) error {
	return db.Apply(e.ctx, driver.Step{Writes: writes})
}

func put(r driver.Row) driver.RowWrite { return driver.RowWrite{Row: r} }

func removal(key driver.Key) driver.RowWrite {
	return driver.RowWrite{Row: driver.Row{Key: key}, Delete: true}
}

func remove(id string) driver.RowWrite { return removal(driver.Key{ID: id}) }

func guardedBy(w driver.RowWrite, revision uint64) driver.RowWrite {
	w.Guard, w.Expect = true, revision
	return w
}

// row returns a row, nil when it is absent, and checks that all reads agree.
// There must be no concurrent writer.
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
	case one == nil && other != nil && !other.ExpiresAt.IsZero() && !other.ExpiresAt.After(e.Now()): // expired
	case one == nil || other == nil:
		e.Errorf("LoadRow(%s) has the row: %t, %s has it: %t", what, one != nil, method, other != nil)
	default:
		e.noDiff(diffRow(*other, *one), "%s(%s) and LoadRow differ", method, what)
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
	d := diffRow(*got, want)
	e.errorIf(d != "", "%s", d)
	return got.Revision
}

func (e *env) wantNoRow(db driver.QueryDb, key driver.Key, why string) {
	e.Helper()
	got := e.row(db, key)
	e.errorIf(got != nil, "the row %s exists, %s", short(key.String()), why)
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
			e.wantNoRow(db, key, "no step wrote it")
			if rows, err := db.LoadRows(e.ctx, nil); rows != nil || err != nil {
				e.Errorf("LoadRows without keys = %v, %v, want nil, nil", rows, err)
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
	e.errorIf(len(rows) != len(subs), "Load returned %d rows, want %d", len(rows), len(subs))
	for i := range min(len(rows), len(subs)) {
		e.fatalIf(rows[i].Sub != subs[i] || rows[i].ID != "id", "row %d is %s of %q, want %s", i, short(rows[i].Sub), rows[i].ID, short(subs[i]))
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
		e.errorIf(!ok || seen[r.Key], "LoadRows returned %s twice or without being asked", short(r.Key.String()))
		seen[r.Key] = true
		e.errorIf(!bytes.Equal(r.Data, w.Data), "LoadRows returned %s for %s, want %s", r.Data, short(r.Key.String()), w.Data)
	}
	e.errorIf(len(seen) != len(want), "LoadRows returned %d rows, want %d", len(seen), len(want))
}

func readsSeeEveryWrite(e *env) {
	db, other := e.table(subTable), e.table(subTable)
	race(8, func(i int) {
		id := fmt.Sprintf("id%d", i)
		key := driver.Key{ID: id, Sub: "s"}
		for n := range 15 {
			if !e.try(e.write(db, put(lineOf(id, "s", n))), "write") {
				return
			}
			e.wantRow(other, lineOf(id, "s", n))
			if n%5 == 4 {
				if !e.try(e.write(db, removal(key)), "delete") {
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
	}
	for i, text := range oddObjects() {
		e.wantRow(db, rowOf(fmt.Sprintf("id%d", i), text))
	}
}

func rowIDsAreKeptApart(e *env) {
	plain, sub := e.table(plainTable), e.table(subTable)
	ids := goodIDs()
	for i, id := range ids {
		e.try(e.write(plain, guardedBy(put(numbered(id, i)), 0)), "first write of the id %s", short(id))
		e.try(e.write(sub, guardedBy(put(lineOf(id, ids[len(ids)-1-i], i)), 0)), "first write of the id %s", short(id))
	}
	for i, id := range ids {
		e.wantRow(plain, numbered(id, i))
		e.wantRow(sub, lineOf(id, ids[len(ids)-1-i], i))
	}
	// The same text, split in another place.
	for i, k := range []driver.Key{{ID: "a/b", Sub: "c"}, {ID: "a", Sub: "b/c"}, {ID: "a#b", Sub: "c"}, {ID: "a", Sub: "b#c"}, {ID: "a|b", Sub: "c"}, {ID: "a", Sub: "b|c"}, {ID: "ab", Sub: "c"}, {ID: "a", Sub: "bc"}} {
		e.try(e.write(sub, guardedBy(put(lineOf(k.ID, k.Sub, i)), 0)), "first write of %v", k)
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
		for _, w := range []driver.RowWrite{put(b.row), guardedBy(put(b.row), 0)} {
			err := e.write(db, put(lineOf("step", "s", 1)), w)
			e.errorIf(e.wantClass(err, driver.ErrInvalid, "Apply with %s, guarded %t", b.name, w.Guard) && !strings.Contains(err.Error(), b.field), "Apply with %s: the error %q does not name the field %q", b.name, err, b.field)
		}
	}
	if rows, err := db.Load(e.ctx, "id"); err != nil || rows != nil {
		e.Errorf("of the refused rows %d are stored, %v", len(rows), err)
	}
	e.wantNoRow(db, driver.Key{ID: "step", Sub: "s"}, "though its step was refused")

	withSub := driver.Row{Key: driver.Key{ID: "id", Sub: "s"}, Data: []byte(`{"n":1}`)}
	e.wantClass(e.write(plain, put(withSub)), driver.ErrInvalid, "Apply with a sub id in a table without them")
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
		if e.try(e.write(db, put(r)), "write %s", r.Data) {
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
	for _, sub := range []string{"a", "b", "c", "d", "e"} {
		e.must(e.write(db, guardedBy(put(big(sub)), 0)), "write of a row just under the limit of %d", limit)
	}
	rows, err := db.Load(e.ctx, "id") // more than a page of 1 MB
	e.must(err, "Load")
	e.errorIf(len(rows) != 5, "Load returned %d rows, want 5", len(rows))
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
	e.wantTooLarge(e.write(db, put(lineOf("other", "a", 1)), put(big)), "row", limit, "Apply of a row over the limit together with a valid row")
	e.wantNoRow(db, driver.Key{ID: "other", Sub: "a"}, "though its step was refused")
	e.wantTooLarge(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 0, 1)}, Writes: []driver.RowWrite{put(big)}}), "row", limit, "Apply")
	e.wantWatermark(db, streamKey("s"), 0, false)
	e.wantRow(db, lineOf("id", "s", 1))
}

// writers returns the ways to write the row "id" of the plain table.
func writers(e *env, db driver.QueryDb) map[string]func() {
	return map[string]func(){
		"a write":        func() { e.save(db, numbered("id", 1)) },
		"the same again": func() { e.save(db, numbered("id", 1)) },
		"a guarded write": func() {
			revision := uint64(0)
			rows, err := db.LoadRows(e.ctx, []driver.Key{{ID: "id"}})
			e.must(err, "LoadRows")
			for _, r := range rows { // also an expired one
				revision = r.Revision
			}
			e.must(e.write(db, guardedBy(put(numbered("id", 1)), revision)), "guarded write")
		},
	}
}

func (e *env) revision(db driver.QueryDb, id string) uint64 {
	e.Helper()
	r, err := db.LoadRow(e.ctx, driver.Key{ID: id})
	e.must(err, "LoadRow(%s)", id)
	e.errorIf(r.Revision == 0, "%s has the revision 0, want 1 at least", id)
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
	// The store ignores the revision of a row that it is given.
	for _, given := range []uint64{1, last + 1000} {
		write("a write of a row with a revision", func() {
			r := numbered("id", 3)
			r.Revision = given
			e.save(db, r)
		})
	}
	// A row that was not written keeps its revision.
	e.save(db, numbered("other", 1))
	if now := e.revision(db, "id"); now != last {
		e.Errorf("a write to another row took the revision from %d to %d", last, now)
	}
}

func revisionsAreNotReused(e *env) {
	db := e.table(plainTable)
	key := driver.Key{ID: "id"}
	seen := map[uint64]string{}
	note := func(after string) {
		rev := e.revision(db, "id")
		before, ok := seen[rev]
		e.errorIf(ok, "the revision %d after %s is that of %s", rev, after, before)
		seen[rev] = after
	}
	removals := map[string]func(){
		"Apply": func() { e.delete(db, key) },
		"Clear": func() { e.must(db.Clear(e.ctx), "Clear") },
	}
	if e.Advance != nil {
		removals["expiry"] = func() {
			r := numbered("id", 1)
			r.ExpiresAt = e.Now().Add(time.Minute).Truncate(time.Second)
			e.save(db, r)
			note("a write that expires")
			e.Advance(2 * time.Minute)
		}
	}
	if e.Reopen != nil {
		removals["reopening"] = func() {
			e.delete(db, key)
			e.reopen()
			db = e.table(plainTable)
		}
	}
	for _, gone := range sortedKeys(removals) {
		for _, name := range sortedKeys(writers(e, db)) {
			for n := range 3 {
				writers(e, db)[name]()
				note(fmt.Sprintf("%s before %s, write %d", name, gone, n))
			}
			removals[gone]()
			e.wantNoRow(db, key, "after "+gone)
		}
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

func expiredRowsAreAbsentForReaders(e *env) {
	e.needClock()
	db := e.table(plainTable)
	end := e.Now().Truncate(time.Second).Add(time.Minute)
	row := func(id string) driver.Row {
		r := numbered(id, 1)
		r.ExpiresAt = end
		return r
	}
	e.save(db, row("read"), row("delete"), row("again"))
	before := e.wantRow(db, row("again"))
	e.advance(end.Sub(e.Now()) - time.Second)
	e.wantRow(db, row("read")) // a second before its end
	e.advance(time.Second)
	const why = "though it has expired"
	for _, id := range []string{"read", "delete", "again"} {
		e.wantNoRow(db, driver.Key{ID: id}, why)
	}
	e.try(e.write(db, remove("delete")), "delete of an expired row")
	e.save(db, numbered("again", 9))
	now := e.wantRow(db, numbered("again", 9))
	e.errorIf(now <= before, "the row, written again after it expired, has revision %d, had %d before", now, before)
	// A row that is written after its expiry is absent immediately.
	past := row("past")
	e.advance(time.Hour)
	e.save(db, past)
	e.wantNoRow(db, past.Key, why)
	past.ID = "again"
	e.save(db, past)
	e.wantNoRow(db, past.Key, why)
	// Expired rows stay absent.
	e.advance(240 * time.Hour)
	for _, id := range []string{"read", "delete", "past", "again"} {
		e.wantNoRow(db, driver.Key{ID: id}, why)
	}
}

func expiredRowsAreKeptForProjections(e *env) {
	e.needClock()
	db, sub := e.table(plainTable), e.table(subTable)
	end := e.Now().Truncate(time.Second).Add(time.Minute)
	r, late := numbered("id", 1), numbered("late", 1)
	r.ExpiresAt, late.ExpiresAt = end, end
	brief, lasting := lineOf("id", "brief", 1), lineOf("id", "lasting", 2)
	brief.ExpiresAt = end
	e.save(db, r)
	e.save(sub, brief, lasting)
	e.advance(driver.ExpiryGrace)
	e.save(db, late) // it expired long ago, as in a rebuild
	e.advance(driver.ExpiryGrace / 2)
	e.save(db, numbered("other", 1)) // a store may remove rows with any write
	kept, err := db.LoadRows(e.ctx, []driver.Key{r.Key, late.Key})
	rev := uint64(0)
	for _, k := range kept {
		if k.Key == late.Key {
			rev = k.Revision
		}
	}
	if !e.try(err, "LoadRows of expired rows") || rev == 0 {
		e.Fatalf("LoadRows of expired rows = %v, %v, want the row that was written half a grace ago", kept, err)
	}
	e.wantClass(e.write(db, guardedBy(put(numbered("late", 9)), 0)), driver.ErrConflict, "a step guarded by the absence of an expired row")
	e.wantClass(e.write(db, guardedBy(put(numbered("late", 9)), rev+1)), driver.ErrConflict, "a step guarded by another revision of an expired row")
	e.try(e.write(db, guardedBy(put(numbered("late", 9)), rev)), "a step guarded by the revision of an expired row")
	e.wantRow(db, numbered("late", 9))

	brief.ExpiresAt = e.Now().Truncate(time.Second).Add(time.Minute)
	e.save(sub, brief)
	e.advance(driver.ExpiryGrace)
	rows, err := sub.Load(e.ctx, "id")
	if !e.try(err, "Load of an id with an expired row") || len(rows) != 2 || rows[0].Sub != "brief" || !rows[0].ExpiresAt.Equal(brief.ExpiresAt) {
		e.Errorf("Load of an id with an expired row = %v, want both rows", rows)
	}
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
	e.save(db, expiring("longer", time.Minute), expiring("longer", time.Hour))
	e.save(db, expiring("shorter", time.Hour), expiring("shorter", time.Minute))
	e.save(db, expiring("never", time.Minute), expiring("never", 0))
	e.advance(2 * time.Minute)
	e.wantRow(db, expiring("longer", time.Hour))
	e.wantNoRow(db, driver.Key{ID: "shorter"}, "though it has expired")
	e.wantRow(db, expiring("never", 0))
}

func applyDoesNotKeepItsArguments(e *env) {
	db := e.table(plainTable)
	step := driver.Step{Advances: []driver.Advance{advance("s", 0, 1)}, Writes: []driver.RowWrite{put(numbered("id", 3))}}
	e.must(db.Apply(e.ctx, step), "Apply")
	if got := string(step.Writes[0].Row.Data); got != `{"n":3}` {
		e.Errorf("Apply changed its argument to %s", got)
	}
	wipe(step.Writes[0].Row.Data)
	step.Advances[0].Stream = "t"
	check := func() {
		e.Helper()
		e.wantRow(db, numbered("id", 3))
		e.wantWatermark(db, streamKey("s"), 1, false)
	}
	check()
	got, err := db.LoadRow(e.ctx, driver.Key{ID: "id"}) // results belong to the caller
	e.must(err, "LoadRow")
	wipe(got.Data)
	rows, err := db.Load(e.ctx, "id")
	e.must(err, "Load")
	wipe(rows[0].Data)
	rows, err = db.LoadRows(e.ctx, []driver.Key{{ID: "id"}})
	e.must(err, "LoadRows")
	wipe(rows[0].Data)
	check()
}

func rowsSurviveReopening(e *env) {
	e.needReopen()
	db := e.table(shopTable)
	r := driver.Row{Key: driver.Key{ID: "id", Sub: "s"}, Data: []byte(`{ "line":"s", "color":"red" }`), ExpiresAt: e.Now().Add(time.Hour).Truncate(time.Second)}
	e.save(db, r, lineOf("id", "gone", 1), lineOf("id", "t", 2))
	e.delete(db, driver.Key{ID: "id", Sub: "gone"})
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
