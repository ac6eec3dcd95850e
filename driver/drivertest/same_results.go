package drivertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/testenv"
)

// TestSameResults runs lists of random operations on two providers and requires
// that every visible result is the same. Of revisions it requires only that they
// grow alike. It reduces a list that fails as far as it still fails, and reports it
// with its seed. It runs 12 lists, or fewer for a slow provider, and 100 in the long
// form of the tests.
func TestSameResults(t *testing.T, a, b Open, fewer ...int) {
	seed, given := testenv.Seed(t)
	lists := 12
	for _, n := range fewer {
		lists = n
	}
	if testenv.Long() {
		lists = 100
	}
	if given {
		lists = 1
	}
	if report := difference(t, seed, lists, a, b); report != "" {
		t.Fatal(report)
	}
}

// difference compares two providers on lists of operations and reports the first
// difference, on a reduced list.
func difference(t *testing.T, seed uint64, lists int, a, b Open) (report string) {
	t.Helper()
	for i := range lists {
		ops := randomOperations(seed+uint64(i), 250)
		diff := compare(t, ops, a, b)
		if diff == "" {
			continue
		}
		ops, diff = shrink(t, ops, diff, a, b)
		var list strings.Builder
		for i, o := range ops {
			fmt.Fprintf(&list, "%3d %s\n", i, o.name)
		}
		return fmt.Sprintf("%s=%d: two providers differ after these operations:\n%s%s", testenv.SeedVariable, seed+uint64(i), list.String(), diff)
	}
	return ""
}

// operation is one call, or a few, with a name that describes it completely. It does
// not depend on other operations, so that a list can be reduced.
type operation struct {
	name string
	run  func(w *world) string
}

// world is what operations run on: the drivers of one provider and what the
// operations have read of them.
type world struct {
	*env
	start     time.Time
	log       driver.EventLog
	topic     commandEnds
	tables    map[string]driver.QueryDb
	engine    driver.QueryEngine
	counter   counterEnds
	outcomes  driver.Outcomes
	letters   driver.DeadLetters
	last      map[string]uint64 // stream to its last commit
	revisions map[string]uint64 // row to its last revision seen
	retried   map[string]bool   // commands that were retried once
}

var (
	modelPlain = driver.TableSpec{Name: "Test.Plain", Indexes: []driver.Index{
		{Name: "byColor", Key: driver.Field{Name: "color"}},
		{Name: "byN", Key: driver.Field{Name: "n", Number: true}},
	}}
	modelLines = driver.TableSpec{Name: "Test.Lines", SubID: "line", Indexes: []driver.Index{
		{Name: "byColor", Key: driver.Field{Name: "color"}, Sort: &driver.Field{Name: "n", Number: true}},
		{Name: "keys", Key: driver.Field{Name: "color"}, Sort: &driver.Field{Name: "n", Number: true}, Include: []string{}},
	}}
)

func newWorld(e *env) *world {
	return &world{
		env: e, start: e.Now().Truncate(time.Second),
		log: e.eventLog("Test.Log"), topic: e.commandTopic("Test.Thing"),
		tables: map[string]driver.QueryDb{modelPlain.Name: e.table(modelPlain), modelLines.Name: e.table(modelLines)},
		engine: e.engine(modelPlain, modelLines), counter: e.counter("Test.Counter"),
		outcomes: e.outcomes(), letters: e.deadLetters(),
		last: map[string]uint64{}, revisions: map[string]uint64{}, retried: map[string]bool{},
	}
}

// compare runs ops on fresh providers and returns the first difference.
func compare(t *testing.T, ops []operation, a, b Open) (diff string) {
	t.Helper()
	// A subtest, so that the providers are closed at its end.
	t.Run("Compare", func(t *testing.T) {
		ea, eb := newEnv(t, t, t.Context(), a), newEnv(t, t, t.Context(), b)
		if ea.Advance == nil || eb.Advance == nil {
			ea.Advance, eb.Advance = nil, nil // time passes on both or on none
		}
		wa, wb := newWorld(ea), newWorld(eb)
		for i, o := range ops {
			ra, rb := o.run(wa), o.run(wb)
			if ra != rb {
				diff = fmt.Sprintf("operation %d, %s:\nthe first  provider: %s\nthe second provider: %s", i, o.name, ra, rb)
				return
			}
		}
	})
	return diff
}

// shrink drops parts of a failing list as long as the rest still fails.
func shrink(t *testing.T, ops []operation, diff string, a, b Open) ([]operation, string) {
	t.Helper()
	trials := 0
	for size := len(ops) / 2; size > 0; {
		smaller := false
		for from := 0; from+size <= len(ops) && trials < 400; {
			rest := slices.Concat(ops[:from], ops[from+size:])
			trials++
			if d := compare(t, rest, a, b); d != "" {
				ops, diff, smaller = rest, d, true
				continue
			}
			from += size
		}
		if !smaller || size > len(ops) {
			size = min(size/2, len(ops))
		}
	}
	return ops, diff
}

func randomOperations(seed uint64, n int) []operation {
	r := rand.New(rand.NewPCG(seed, 0x7265767465737473))
	kinds := []func(*rand.Rand) operation{
		opAppend, opAppend, opAppend, opAppend, opRead, opLoad, opScan,
		opSend, opSend, opDrain,
		opWrite, opWrite, opWrite, opWrite, opWrite, opWrite, opLoadRows, opApply, opApply, opApply, opApply, opBlock, opClear,
		opPages, opPages, opPages, opPages, opPages, opPages, opScanTable, opCursors, opCursors,
		opCounter, opCounter, opCounter, opFinished,
		opOutcome, opOutcome, opOutcome, opLetter, opLetter, opAdvance,
	}
	ops := make([]operation, 0, n)
	for len(ops) < n {
		ops = append(ops, kinds[r.IntN(len(kinds))](r))
	}
	return ops
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func oneIn(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// op names an operation by its arguments.
func op(run func(w *world) string, format string, args ...any) operation {
	return operation{name: fmt.Sprintf(format, args...), run: run}
}

func showCommits(cs []driver.Commit, err error) string {
	var b strings.Builder
	for _, c := range cs {
		fmt.Fprintf(&b, "%s@%d", c.Stream, c.SequenceNr)
		for _, e := range c.Events {
			fmt.Fprintf(&b, " %s.%d%s", e.Type, e.Version, e.Data)
		}
		for _, a := range c.Commands {
			fmt.Fprintf(&b, " by %s.%d", a.Meta.ID, a.EventCount)
		}
		b.WriteString("; ")
	}
	return b.String() + "error " + classOf(err)
}

var modelStreams = []string{"a", "b", "a/b", "ä", "A", "a ", "日本"}

func opAppend(r *rand.Rand) operation {
	stream, back, snap, events := pick(r, modelStreams...), uint64(0), 0, 1+r.IntN(3)
	if oneIn(r, 4) {
		back = 1 + uint64(r.IntN(3))
	}
	if oneIn(r, 3) {
		snap = 1 + r.IntN(2)
	}
	text := pick(r, oddJSON()...)
	return op(func(w *world) string {
		n := w.last[stream] + 1
		if n <= back {
			return "no such number"
		}
		n -= back
		c := commitOf(stream, n, "model")
		for len(c.Events) < events {
			c.Events = append(c.Events, driver.Event{Type: "More", Version: 2, Data: json.RawMessage(text)})
			c.Commands[0].EventCount = len(c.Events)
		}
		if snap > 0 {
			c = withSnapshot(c, snap)
		}
		err := w.log.Append(w.ctx, c)
		var conflict *driver.ConflictError
		if errors.As(err, &conflict) {
			return "conflict with " + showCommits([]driver.Commit{conflict.Winner}, nil)
		}
		if err == nil {
			w.last[stream] = n
		}
		return classOf(err)
	}, "append %s at the next number less %d, %d events, snapshot %d, %s", stream, back, events, snap, text)
}

func opRead(r *rand.Rand) operation {
	stream, after := pick(r, modelStreams...), uint64(r.IntN(6))
	return op(func(w *world) string { return showCommits(collect(w.env, w.log.Read(w.ctx, stream, after, 0))) }, "read %s after %d", stream, after)
}

func opLoad(r *rand.Rand) operation {
	stream, version := pick(r, modelStreams...), r.IntN(4)
	return op(func(w *world) string {
		cs, err := w.log.Load(w.ctx, stream, ofVersion(version))
		s := showCommits(cs, err)
		if len(cs) > 0 && cs[0].Snapshot != nil && cs[0].Snapshot.StateVersion == version {
			s += fmt.Sprintf(" from the snapshot %s %v", cs[0].Snapshot.State, cs[0].Snapshot.Remembered)
		}
		return s
	}, "load %s version %d", stream, version)
}

func opScan(r *rand.Rand) operation {
	segments := 1 + r.IntN(4)
	return op(func(w *world) string {
		var all []driver.Commit
		for i := range segments {
			cs, err := collect(w.env, w.log.Scan(w.ctx, i, segments))
			if err != nil {
				return "error " + classOf(err)
			}
			all = append(all, cs...)
		}
		slices.SortStableFunc(all, func(a, b driver.Commit) int { return strings.Compare(a.Stream, b.Stream) })
		return showCommits(all, nil)
	}, "scan the log in %d segments", segments)
}

func opSend(r *rand.Rand) operation {
	var batch []driver.Command
	for range r.IntN(5) {
		c := command(pick(r, "e1", "e2", "é/3"), fmt.Sprintf("c%d", r.IntN(12)))
		if oneIn(r, 15) {
			c.Entity = pick(r, "", "\x01", "\xff")
		}
		batch = append(batch, c)
	}
	var ids []string
	for _, c := range batch {
		ids = append(ids, fmt.Sprintf("%q:%s", c.Entity, c.Meta.ID))
	}
	return op(func(w *world) string { return showBatch(w.topic.Send(w.ctx, batch)) }, "send %v", ids)
}

func showBatch(err error) string {
	var be *driver.BatchError
	if !errors.As(err, &be) {
		return classOf(err)
	}
	var b strings.Builder
	for _, k := range sortedKeys(be.Failed) {
		fmt.Fprintf(&b, "%q: %s; ", k, classOf(be.Failed[k]))
	}
	return "failed: " + b.String()
}

// available receives until nothing is delivered for the provider's lag.
func available[T any](w *world, r driver.Receiver[T], each func(ds []driver.Delivery[T]) []driver.Settlement) error {
	end := time.Now().Add(w.Lag)
	for {
		b, err := r.Receive(w.ctx, 10)
		if err != nil {
			return err
		}
		if len(b.Deliveries) > 0 {
			if err := r.Settle(w.ctx, each(b.Deliveries)); err != nil {
				return err
			}
			end = time.Now().Add(w.Lag)
			continue
		}
		if !time.Now().Before(end) {
			return nil
		}
		pause(10 * time.Millisecond)
	}
}

// drainTopic settles all commands and returns them per entity in the order in
// which they were settled. Some are retried once.
func drainTopic(w *world, salt int) string {
	got := map[string][]string{}
	err := available(w, w.topic.Receiver, func(ds []driver.Delivery[driver.Command]) []driver.Settlement {
		var ss []driver.Settlement
		held := map[string]bool{} // entities of which one was retried in this batch
		for _, d := range ds {
			id := d.Message.Entity + "|" + d.Message.Meta.ID
			if !w.retried[id] && (len(id)*7+int(id[len(id)-1])*3+salt)%4 == 0 {
				w.retried[id] = true
				held[d.Message.Entity] = true
			}
			if !held[d.Message.Entity] {
				got[d.Message.Entity] = append(got[d.Message.Entity], d.Message.Meta.ID)
			}
			ss = append(ss, driver.Settlement{ID: d.ID, Retry: held[d.Message.Entity]})
		}
		return ss
	})
	var b strings.Builder
	for _, entity := range sortedKeys(got) {
		fmt.Fprintf(&b, "%q: %v; ", entity, got[entity])
	}
	return b.String() + "error " + classOf(err)
}

func opDrain(r *rand.Rand) operation {
	salt := r.IntN(4)
	return op(func(w *world) string { return drainTopic(w, salt) }, "drain the commands, retrying by %d", salt)
}

// showRow shows a row with its revision compared with the last one seen.
func (w *world) showRow(table string, r driver.Row) string {
	key := table + "|" + r.Key.String()
	growth := "grew"
	switch last := w.revisions[key]; {
	case r.Revision == 0:
		growth = "is 0"
	case r.Revision == last:
		growth = "stayed"
	case r.Revision < last:
		growth = "fell"
	}
	w.revisions[key] = r.Revision
	expires := "never"
	if !r.ExpiresAt.IsZero() {
		expires = r.ExpiresAt.Sub(w.start).String()
	}
	return fmt.Sprintf("%q %s until %s, revision %s; ", r.Key.String(), canonical(r.Data), expires, growth)
}

func (w *world) showRows(table string, rows []driver.Row, err error) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(w.showRow(table, r))
	}
	return b.String() + "error " + classOf(err)
}

// modelRow is a random row; expires is relative to the time it is written.
type modelRow struct {
	key     driver.Key
	data    string
	expires time.Duration
}

func (m modelRow) String() string {
	return fmt.Sprintf("%q %s for %v", m.key.String(), m.data, m.expires)
}

func (m modelRow) row(w *world) driver.Row {
	r := driver.Row{Key: m.key, Data: json.RawMessage(m.data)}
	switch {
	case m.expires == 0:
	case w.Advance == nil: // the clock is real: no row expires before the list ends
		r.ExpiresAt = w.start.Add(24*time.Hour + m.expires)
	default:
		r.ExpiresAt = w.Now().Truncate(time.Second).Add(m.expires)
	}
	return r
}

func modelKey(r *rand.Rand, spec driver.TableSpec) driver.Key {
	k := driver.Key{ID: pick(r, "a", "b", "ä", "a/b")}
	if spec.SubID != "" {
		k.Sub = pick(r, "1", "10", "2", "é")
	}
	return k
}

func randomRow(r *rand.Rand, spec driver.TableSpec) modelRow {
	m := modelRow{key: modelKey(r, spec)}
	var fields []string
	if spec.SubID != "" {
		fields = append(fields, fmt.Sprintf(`"line":%q`, m.key.Sub))
	}
	if !oneIn(r, 4) {
		fields = append(fields, `"color":`+pick(r, `"red"`, `"red"`, `"red"`, `"blue"`, `"Red"`, `"re"`, `""`, `null`))
	}
	if !oneIn(r, 4) {
		fields = append(fields, `"n":`+pick(r, `1`, `2`, `10`, `-1`, `1.0`, `-2.5`, `0`, `null`))
	}
	if oneIn(r, 3) {
		fields = append(fields, `"more":`+pick(r, `["red",1,null]`, `{"x":1}`, `true`, `"red"`, `1`, `null`))
	}
	if !oneIn(r, 3) {
		fields = append(fields, `"rank":`+randomRank(r))
	}
	if oneIn(r, 10) { // a repeated name
		fields = append(fields, `"r\u0061nk":`+randomRank(r))
	}
	if oneIn(r, 25) {
		fields = append(fields, `"color":7`) // invalid: the last one counts
	}
	if oneIn(r, 5) {
		m.expires = pick(r, 3*time.Minute, 10*time.Minute)
	}
	m.data = "{" + strings.Join(fields, ",") + "}"
	return m
}

// randomRank returns a value of any kind that orders a scan, often equal to others.
func randomRank(r *rand.Rand) string {
	return pick(r, `1`, `1.0`, `2`, `10`, `-1`, `-0`, `0`, `1e3`, `9007199254740992`, `9007199254740993`, `1e400`, `-1e999`, `0.1`,
		`true`, `false`, `null`, `[]`, `{"a":1}`, `"x"`, `"\u0078"`, `"X"`, `""`, `"a\u0000b"`, `"a"`, `"\ud83d\ude00"`, `"\uffee"`, `"\ud800"`, `"10"`)
}

func modelTable(r *rand.Rand) driver.TableSpec { return pick(r, modelPlain, modelLines) }

// write applies a step of writes without advances.
func (w *world) write(table string, writes ...driver.RowWrite) string {
	return classOf(w.tables[table].Apply(w.ctx, driver.Step{Writes: writes}))
}

// opWrite writes rows in one step, once or twice. Sometimes it deletes the first row,
// or requires its absence. The step is refused when one of the rows is bad.
func opWrite(r *rand.Rand) operation {
	spec := modelTable(r)
	var ms []modelRow
	seen := map[driver.Key]bool{}
	for range pick(r, 1, 1, 1+r.IntN(8)) {
		if m := randomRow(r, spec); !seen[m.key] {
			seen[m.key] = true
			ms = append(ms, m)
		}
	}
	remove, absent, times := oneIn(r, 6), oneIn(r, 6), 1+r.IntN(2)
	return op(func(w *world) string {
		var b strings.Builder
		for range times {
			var writes []driver.RowWrite
			for i, m := range ms {
				writes = append(writes, driver.RowWrite{Row: m.row(w), Delete: remove && i == 0, Guard: absent && i == 0})
			}
			rows, err := w.tables[spec.Name].LoadRows(w.ctx, []driver.Key{ms[0].key})
			b.WriteString(w.showRows(spec.Name, rows, err) + " " + w.write(spec.Name, writes...) + "; ")
		}
		return b.String()
	}, "write %s %v, first deleted %t, guarded by absence %t, %d times", spec.Name, ms, remove, absent, times)
}

func opLoadRows(r *rand.Rand) operation {
	spec := modelTable(r)
	keys := []driver.Key{modelKey(r, spec), modelKey(r, spec), modelKey(r, spec)}
	how := r.IntN(3)
	return op(func(w *world) string {
		db := w.tables[spec.Name]
		switch how {
		case 0:
			rows, err := db.Load(w.ctx, keys[0].ID)
			return w.showRows(spec.Name, rows, err)
		case 1:
			row, err := db.LoadRow(w.ctx, keys[0])
			if err != nil {
				return classOf(err)
			}
			return w.showRow(spec.Name, row)
		}
		rows, err := db.LoadRows(w.ctx, keys)
		slices.SortFunc(rows, func(a, b driver.Row) int { return strings.Compare(a.Key.String(), b.Key.String()) })
		return w.showRows(spec.Name, rows, err)
	}, "load %s %q way %d", spec.Name, keys, how)
}

// opApply makes a step of up to two advances and three writes. From and Expect
// are relative to what is stored, and sometimes wrong.
func opApply(r *rand.Rand) operation {
	spec := modelTable(r)
	type adv struct {
		stream string
		off    int
	}
	type write struct {
		row    modelRow
		remove bool
		guard  int // 0 none, 1 right, 2 wrong, 3 absent
	}
	var as []adv
	var ws []write
	for range r.IntN(3) {
		a := adv{stream: pick(r, "s", "t", "ü")}
		if oneIn(r, 5) {
			a.off = pick(r, -1, 1)
		}
		as = append(as, a)
	}
	for range r.IntN(4) {
		ws = append(ws, write{randomRow(r, spec), oneIn(r, 4), pick(r, 0, 0, 0, 1, 1, 1, 2, 3)})
	}
	return op(func(w *world) string {
		db := w.tables[spec.Name]
		var step driver.Step
		for _, a := range as {
			m, err := db.Watermark(w.ctx, streamKey(a.stream))
			if err != nil {
				return "watermark " + classOf(err)
			}
			if int(m.SequenceNr)+a.off < 0 {
				return "no such number"
			}
			from := uint64(int(m.SequenceNr) + a.off)
			step.Advances = append(step.Advances, advance(a.stream, from, from+1))
		}
		for _, x := range ws {
			rw := driver.RowWrite{Row: x.row.row(w), Delete: x.remove, Guard: x.guard > 0}
			if x.guard == 1 || x.guard == 2 {
				if row, err := db.LoadRow(w.ctx, x.row.key); err == nil {
					rw.Expect = row.Revision
				}
			}
			if x.guard == 2 {
				rw.Expect += 1_000_000
			}
			step.Writes = append(step.Writes, rw)
		}
		if len(as) == 0 && len(ws) == 0 {
			return "an empty step is not tried"
		}
		// Of two errors in a step either may be returned.
		switch c := classOf(db.Apply(w.ctx, step)); c {
		case driver.ErrInvalid.Error(), driver.ErrConflict.Error():
			return "refused"
		default:
			return c
		}
	}, "apply %s %v %v", spec.Name, as, ws)
}

func opBlock(r *rand.Rand) operation {
	spec := modelTable(r)
	stream, how := pick(r, "s", "t", "ü"), r.IntN(4)
	return op(func(w *world) string {
		db := w.tables[spec.Name]
		m, err := db.Watermark(w.ctx, streamKey(stream))
		s := fmt.Sprintf("%+v %s, ", m, classOf(err))
		switch how {
		case 0:
			if !m.Blocked {
				s += classOf(db.Block(w.ctx, streamKey(stream), m.SequenceNr+1))
			}
			return s
		case 1:
			return s + classOf(db.Block(w.ctx, streamKey(stream), m.SequenceNr))
		}
		return s + classOf(db.Unblock(w.ctx, streamKey(stream)))
	}, "block %s %s way %d", spec.Name, stream, how)
}

func opClear(r *rand.Rand) operation {
	spec := modelTable(r)
	really := oneIn(r, 8)
	return op(func(w *world) string {
		if !really {
			return "not this time"
		}
		return classOf(w.tables[spec.Name].Clear(w.ctx))
	}, "clear %s: %t", spec.Name, really)
}

func randomFilter(r *rand.Rand) driver.Filter {
	f := driver.Filter{Field: pick(r, "color", "n", "more", "line", "nothing")}
	value := func() any { return pick[any](r, "red", "re", "", 1.0, int64(2), -2.5, int64(10), 0.0) }
	f.Comparator = pick(r, driver.Equal, driver.Unequal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual,
		driver.Between, driver.BeginsWith, driver.Exists, driver.NotExists, driver.Contains, driver.NotContains)
	switch f.Comparator {
	case driver.Exists, driver.NotExists:
	case driver.Between:
		f.Values = pick(r, []any{1.0, 10.0}, []any{"b", "red"}, []any{int64(-5), 1.5})
	case driver.BeginsWith:
		f.Values = []any{pick[any](r, "re", "r", "R", "")}
	default:
		f.Values = []any{value()}
	}
	return f
}

// pagesOf walks a query's pages with the table's lag in mind.
func (w *world) pagesOf(table string, page pageOf, limit int, ordered bool) string {
	if w.Lag > 0 {
		pause(w.Lag)
	}
	rows, diff := walk(page, limit)
	if !ordered {
		slices.SortFunc(rows, func(a, b driver.Row) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	}
	if diff != "" {
		return "pages: " + diff
	}
	return w.showRows(table, rows, nil)
}

func randomQuery(r *rand.Rand, spec driver.TableSpec) driver.Query {
	q := driver.Query{ReadModel: spec.Name, Descending: oneIn(r, 2)}
	switch n := r.IntN(1 + len(spec.Indexes)); n {
	case 0:
		q.Value = pick[any](r, "a", "b", "ä", "a/b")
		if spec.SubID != "" && oneIn(r, 2) {
			q.Sort = &driver.Filter{Comparator: pick(r, driver.Equal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual, driver.BeginsWith), Values: []any{pick[any](r, "1", "10", "2")}}
		}
	default:
		x := spec.Indexes[n-1]
		q.Index = x.Name
		q.Value = pick[any](r, "red", "red", "blue", "Red")
		if x.Key.Number {
			q.Value = pick[any](r, 1.0, int64(1), 2.0, -2.5)
		}
		if x.Sort != nil && oneIn(r, 2) {
			q.Sort = &driver.Filter{Comparator: pick(r, driver.Equal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual), Values: []any{pick[any](r, 1.0, int64(2), -1.0)}}
		}
	}
	for range max(0, r.IntN(4)-1) {
		q.Filters = append(q.Filters, randomFilter(r))
	}
	return q
}

// randomScan returns a scan with an order.
func randomScan(r *rand.Rand, spec driver.TableSpec) driver.Scan {
	s := driver.Scan{ReadModel: spec.Name, Order: &driver.Order{
		Field: pick(r, "rank", "rank", "rank", "color", "n", "more", "line", "nothing", ""), Descending: oneIn(r, 2),
	}}
	for range max(0, r.IntN(4)-2) {
		s.Filters = append(s.Filters, randomFilter(r))
	}
	return s
}

// randomPages returns a query or an ordered scan, and the same in another direction
// when back is true.
func randomPages(r *rand.Rand, spec driver.TableSpec, back bool) (name string, first, then func(w *world) pageOf) {
	if oneIn(r, 2) {
		q := randomQuery(r, spec)
		to := q
		to.Descending = q.Descending != back
		return describe(q), func(w *world) pageOf { return w.queryPages(w.engine, q) }, func(w *world) pageOf { return w.queryPages(w.engine, to) }
	}
	s := randomScan(r, spec)
	to := s
	to.Order = &driver.Order{Field: s.Order.Field, Descending: s.Order.Descending != back}
	return describe(s), func(w *world) pageOf { return w.scanPages(w.engine, s) }, func(w *world) pageOf { return w.scanPages(w.engine, to) }
}

func opPages(r *rand.Rand) operation {
	spec := modelTable(r)
	name, page, _ := randomPages(r, spec, false)
	limit := pick(r, 0, 1, 2, 3)
	return op(func(w *world) string {
		return w.pagesOf(spec.Name, page(w), limit, true)
	}, "%s in pages of %d", name, limit)
}

func opScanTable(r *rand.Rand) operation {
	spec := modelTable(r)
	s := driver.Scan{ReadModel: spec.Name}
	limit := pick(r, 0, 1, 2, 3)
	for range r.IntN(3) {
		s.Filters = append(s.Filters, randomFilter(r))
	}
	return op(func(w *world) string {
		return w.pagesOf(spec.Name, w.scanPages(w.engine, s), limit, false)
	}, "scan %s %v in pages of %d", spec.Name, s.Filters, limit)
}

// opCursors continues from one row of a page in one of the directions, sometimes
// after that row was deleted.
func opCursors(r *rand.Rand) operation {
	spec := modelTable(r)
	back := oneIn(r, 2)
	name, first, then := randomPages(r, spec, back)
	limit, row, next, gone := pick(r, 0, 2, 4), r.IntN(8), pick(r, 0, 1, 3), oneIn(r, 4)
	return op(func(w *world) string {
		if w.Lag > 0 {
			pause(w.Lag)
		}
		p, err := first(w)(limit, "")
		if err != nil {
			return classOf(err)
		}
		if len(p.Cursors) != len(p.Rows) {
			return fmt.Sprintf("%d cursors of %d rows", len(p.Cursors), len(p.Rows))
		}
		if len(p.Rows) == 0 {
			return "no rows"
		}
		row := row % len(p.Rows)
		s := fmt.Sprintf("from %q: ", p.Rows[row].Key.String())
		if gone {
			s += w.write(spec.Name, removal(p.Rows[row].Key)) + ", "
			if w.Lag > 0 {
				pause(w.Lag)
			}
		}
		rest, err := then(w)(next, p.Cursors[row])
		return s + w.showRows(spec.Name, rest.Rows, err) + fmt.Sprintf(", more %t", rest.Cursor != "")
	}, "from row %d of %d of %s, back %t, gone %t, the next %d", row, limit, name, back, gone, next)
}

func opCounter(r *rand.Rand) operation {
	id, ref, n, target := pick(r, "a", "b", "ä"), fmt.Sprintf("r%d", r.IntN(15)), int64(r.IntN(5)), oneIn(r, 3)
	return op(func(w *world) string {
		var err error
		if target {
			err = w.counter.AddTarget(w.ctx, id, ref, n+1)
		} else {
			err = w.counter.Count(w.ctx, id, ref, n)
		}
		state, err2 := w.counter.State(w.ctx, id)
		return fmt.Sprintf("%s, %+v %s", classOf(err), state, classOf(err2))
	}, "counter %s, reference %s, %d, target %t", id, ref, n, target)
}

func opFinished(*rand.Rand) operation {
	return op(func(w *world) string {
		got := map[string][]string{}
		err := available(w, w.counter.Receiver, func(ds []driver.Delivery[driver.CounterFinished]) []driver.Settlement {
			var ss []driver.Settlement
			for _, d := range ds {
				got[d.Message.CounterID] = append(got[d.Message.CounterID], fmt.Sprintf("%d at %d", d.Message.Ordinal, d.Message.Target))
				ss = append(ss, driver.Settlement{ID: d.ID})
			}
			return ss
		})
		var b strings.Builder
		for _, id := range sortedKeys(got) {
			fmt.Fprintf(&b, "%q: %v; ", id, got[id])
		}
		return b.String() + classOf(err)
	}, "drain the finishes")
}

func opOutcome(r *rand.Rand) operation {
	out := driver.StoredOutcome{Outcome: driver.Outcome{
		Kind: pick(r, driver.Pending, driver.Accepted, driver.Rejected, driver.Failed), CommandID: fmt.Sprintf("c%d", r.IntN(3)), Target: "P.Thing", EntityID: "e", SequenceNr: uint64(r.IntN(5)),
	}, Resend: r.IntN(3)}
	if out.Kind == driver.Rejected {
		out.Code, out.Detail = "No", json.RawMessage(`{"x":[1,2]}`)
	}
	lasts, get := pick(r, 3*time.Minute, 10*time.Minute, 17*time.Minute), oneIn(r, 3)
	return op(func(w *world) string {
		now, err := w.outcomes.Get(w.ctx, out.Target, out.CommandID)
		s := classOf(err)
		if err == nil {
			s = fmt.Sprintf("%s %d %d %s %s", now.Kind, now.Resend, now.SequenceNr, now.Code, canonical(now.Detail))
		}
		if get {
			return s
		}
		return s + ", " + classOf(w.outcomes.Put(w.ctx, out, w.Now().Truncate(time.Second).Add(lasts)))
	}, "outcome %s of %s for %v, get only %t", out.Kind, out.CommandID, lasts, get)
}

func opLetter(r *rand.Rand) operation {
	l := letterOf(fmt.Sprintf("l%d", r.IntN(6)), pick(r, "Test.A", "Test.B"))
	l.Attempts = r.IntN(9)
	how, after, limit := r.IntN(5), pick(r, "", "l1", "l3"), 1+r.IntN(4)
	return op(func(w *world) string {
		switch how {
		case 0, 1:
			return classOf(w.letters.Park(w.ctx, l))
		case 2:
			return classOf(w.letters.Remove(w.ctx, l.ID))
		case 3:
			got, err := w.letters.Get(w.ctx, l.ID)
			return fmt.Sprintf("%s %s %d %s", got.Component, got.Body, got.Attempts, classOf(err))
		}
		list, err := w.letters.List(w.ctx, l.Component, after, limit)
		var b strings.Builder
		for _, l := range list {
			fmt.Fprintf(&b, "%s %s %d; ", l.ID, l.Component, l.Attempts)
		}
		return b.String() + classOf(err)
	}, "letter %s of %s way %d, after %q, limit %d", l.ID, l.Component, how, after, limit)
}

// opAdvance advances the clocks by seven minutes, at which no expiry and no window
// ends exactly. It drains the commands first, so that none is queued when its id is
// free again.
func opAdvance(*rand.Rand) operation {
	return op(func(w *world) string {
		if w.Advance == nil {
			return "no clock to move"
		}
		s := drainTopic(w, 0)
		w.Advance(7 * time.Minute)
		return s
	}, "advance 7 minutes")
}
