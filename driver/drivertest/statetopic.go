package drivertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestStateTopic runs the suite of [driver.StateTopic].
func TestStateTopic(t *testing.T, open Open) { stateTopicSuite().run(t, open) }

func stateTopicSuite() suite {
	return suite{"StateTopic", []property{
		{"EveryWriteIsPublished", everyWriteIsPublished},
		{"ChangesKeepTheBytesOfRows", changesKeepTheBytesOfRows},
		{"RemovalsCarryTheRowBefore", removalsCarryTheRowBefore},
		{"WhatChangesNothingIsNotPublished", whatChangesNothingIsNotPublished},
		{"RowsWrittenAfterExpiryAreAdded", rowsWrittenAfterExpiryAreAdded},
		{"OwnRowStepsArePublished", ownRowStepsArePublished},
		{"ChangesOfARowComeInOrder", changesOfARowComeInOrder},
		{"EverySubscriberGetsEveryChange", everySubscriberGetsEveryChange},
		{"ASubscriptionBeginsWhenItIsMade", aSubscriptionBeginsWhenItIsMade},
		{"ReadModelsArePublishedApart", readModelsArePublishedApart},
		{"ACancelledSubscriptionEnds", aCancelledSubscriptionEnds},
		{"ASlowSubscriberDelaysNoWriter", aSlowSubscriberDelaysNoWriter},
		{"ASubscriberMayStopListening", aSubscriberMayStopListening},
		{"ChangesBelongToTheCaller", changesBelongToTheCaller},
		cancelledCallsFail(stateTopicCalls),
	}}
}

// listener is a subscription that is being read.
type listener struct {
	e       *env
	changes chan driver.StateChange
	ended   chan error
	cancel  context.CancelFunc
}

func (e *env) subscribe(spec driver.TableSpec) (func(yield func(driver.StateChange, error) bool), context.CancelFunc) {
	e.Helper()
	t, err := e.Provider.OpenStateTopic(e.ctx, spec)
	e.must(err, "OpenStateTopic(%q)", spec.Name)
	ctx, cancel := context.WithCancel(e.ctx)
	e.owner.Cleanup(cancel)
	seq, err := t.Subscribe(ctx)
	if err != nil {
		cancel()
		e.Fatalf("Subscribe: %v", err)
	}
	return seq, cancel
}

// listen subscribes and starts to read immediately.
func (e *env) listen(spec driver.TableSpec) *listener {
	e.Helper()
	seq, cancel := e.subscribe(spec)
	return e.listenTo(seq, cancel)
}

func (e *env) listenTo(seq func(yield func(driver.StateChange, error) bool), cancel context.CancelFunc) *listener {
	l := &listener{e: e, changes: make(chan driver.StateChange, 100_000), ended: make(chan error, 1), cancel: cancel}
	go func() {
		var failed error
		for c, err := range seq {
			if err != nil {
				failed = err
				continue
			}
			l.changes <- c
		}
		l.ended <- failed
	}()
	return l
}

// next waits for a change.
func (l *listener) next() driver.StateChange {
	l.e.Helper()
	timer := time.NewTimer(l.e.Patience)
	defer timer.Stop()
	select {
	case c := <-l.changes:
		return c
	case err := <-l.ended:
		select {
		case c := <-l.changes: // changes before the end are valid
			l.ended <- err
			return c
		default:
		}
		l.e.Fatalf("the subscription ended with %v, want a change", err)
	case <-timer.C:
		l.e.Fatalf("waited %v for a change", l.e.Patience)
	}
	return driver.StateChange{}
}

func (l *listener) want(kind driver.ChangeKind, key driver.Key, data string) driver.StateChange {
	l.e.Helper()
	c := l.next()
	if c.Kind != kind || c.ID != key.ID || c.SubID != key.Sub {
		l.e.Errorf("got the change %s of %s, want %s of %s", c.Kind, short(driver.Key{ID: c.ID, Sub: c.SubID}.String()), kind, short(key.String()))
	}
	if data != "" && string(c.Row) != data {
		l.e.Errorf("the change %s of %s has the row %s, want %s", c.Kind, short(key.String()), short(string(c.Row)), short(data))
	}
	return c
}

// fence makes a change that ends a series: once it is received no earlier change of
// the same row is still on its way.
func (l *listener) fence(db driver.QueryDb, key driver.Key, data string) {
	l.e.Helper()
	l.e.save(db, driver.Row{Key: key, Data: []byte(data)})
	l.want(driver.Added, key, data)
}

func everyWriteIsPublished(e *env) {
	db := e.table(plainTable)
	l := e.listen(plainTable)
	a, b := driver.Key{ID: "a"}, driver.Key{ID: "b"}
	e.must(e.write(db, guardedBy(put(numbered("a", 1)), 0)), "first write")
	first := l.want(driver.Added, a, `{"n":1}`)
	e.must(e.write(db, guardedBy(put(numbered("a", 2)), first.Revision)), "guarded write")
	l.want(driver.Updated, a, `{"n":2}`)
	e.save(db, numbered("a", 3))
	l.want(driver.Updated, a, `{"n":3}`)
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 0, 1)}, Writes: []driver.RowWrite{put(numbered("a", 6))}}), "Apply")
	l.want(driver.Updated, a, `{"n":6}`)
	e.delete(db, a)
	l.want(driver.Removed, a, "")
	e.save(db, numbered("b", 2))
	l.want(driver.Added, b, `{"n":2}`)
	e.delete(db, b)
	l.want(driver.Removed, b, "")
	e.save(db, numbered("a", 7))
	l.want(driver.Added, a, `{"n":7}`)
	e.must(db.Clear(e.ctx), "Clear")
	l.want(driver.Removed, a, "")
}

func changesKeepTheBytesOfRows(e *env) {
	db := e.table(subTable)
	l := e.listen(subTable)
	ids := goodIDs()
	for i, id := range ids {
		r := lineOf(id, ids[len(ids)-1-i], i)
		r.Data = []byte(" " + string(r.Data[:len(r.Data)-1]) + ` , "odd":"<&>` + "\u2028" + `" } `)
		e.save(db, r)
		c := l.want(driver.Added, r.Key, string(r.Data))
		e.errorIf(c.ReadModel != subTable.Name, "the change is of the read model %q, want %q", c.ReadModel, subTable.Name)
		stored, err := db.LoadRow(e.ctx, r.Key)
		e.must(err, "LoadRow")
		e.errorIf(c.Revision != stored.Revision, "the change has revision %d, the row %d", c.Revision, stored.Revision)
	}
}

func removalsCarryTheRowBefore(e *env) {
	db := e.table(subTable)
	l := e.listen(subTable)
	key := driver.Key{ID: "a", Sub: "1"}
	data := func(n int) string { return fmt.Sprintf(` { "line" : "1", "n": %d.0, "odd":"<&>\u2028" }`, n) }
	for n, remove := range []func() error{
		func() error { return e.write(db, removal(key)) },
		func() error { // the row data of a delete is ignored
			return db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{{Row: driver.Row{Key: key, Data: []byte(`{"line":"1","n":"no"}`)}, Delete: true}}})
		},
		func() error { return db.Clear(e.ctx) },
	} {
		// The row before is the last one, not the first.
		e.save(db, driver.Row{Key: key, Data: []byte(data(-1))})
		l.want(driver.Added, key, data(-1))
		e.save(db, driver.Row{Key: key, Data: []byte(data(n))})
		last := l.want(driver.Updated, key, data(n))
		e.must(remove(), "remove")
		c := l.want(driver.Removed, key, data(n))
		e.errorIf(c.Revision < last.Revision, "the removal has revision %d, the row had %d", c.Revision, last.Revision)
	}
	// An own row, whose watermark stays.
	own := e.table(ownTable)
	l = e.listen(ownTable)
	e.must(own.Apply(e.ctx, ownStep("a", 0, put(numbered("a", 1)))), "Apply")
	l.want(driver.Added, driver.Key{ID: "a"}, `{"n":1}`)
	e.must(own.Apply(e.ctx, ownStep("a", 1, remove("a"))), "Apply")
	l.want(driver.Removed, driver.Key{ID: "a"}, `{"n":1}`)
}

func whatChangesNothingIsNotPublished(e *env) {
	db := e.table(plainTable)
	e.save(db, numbered("a", 1))
	l := e.listen(plainTable)
	e.wantClass(e.write(db, guardedBy(put(numbered("a", 2)), 0)), driver.ErrConflict, "a write guarded by absence")
	e.wantClass(e.write(db, put(rowOf("a", `[]`))), driver.ErrInvalid, "a write of a bad row")
	e.delete(db, driver.Key{ID: "b"})
	e.must(db.Advance(e.ctx, []driver.Advance{advance("s", 0, 1)}), "Advance")
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 1, 2)}, Writes: []driver.RowWrite{remove("b")}}), "Apply of a delete of an absent row")
	e.wantClass(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 0, 1)}, Writes: []driver.RowWrite{put(numbered("a", 3))}}), driver.ErrConflict, "Apply")
	e.must(db.Block(e.ctx, streamKey("s"), 2), "Block")
	e.must(db.Unblock(e.ctx, streamKey("s")), "Unblock")
	l.fence(db, driver.Key{ID: "end"}, `{}`)
}

func rowsWrittenAfterExpiryAreAdded(e *env) {
	e.needClock()
	db := e.table(plainTable)
	l := e.listen(plainTable)
	for i := range 2 {
		id := fmt.Sprintf("id%d", i)
		gone := fmt.Sprintf("gone%d", i)
		for _, id := range []string{id, gone} {
			r := numbered(id, 1)
			r.ExpiresAt = e.Now().Add(time.Minute).Truncate(time.Second)
			e.save(db, r)
			l.want(driver.Added, r.Key, `{"n":1}`)
		}
		e.advance(2 * time.Minute)
		e.save(db, numbered(id, 2))
		l.want(driver.Added, driver.Key{ID: id}, `{"n":2}`) // its expiry was not published
		e.delete(db, driver.Key{ID: gone})
		l.fence(db, driver.Key{ID: "end" + id}, `{}`)
	}
}

func ownRowStepsArePublished(e *env) {
	db := e.table(ownTable)
	l := e.listen(ownTable)
	a := driver.Key{ID: "a"}
	e.must(db.Apply(e.ctx, ownStep("a", 0)), "a step without a write")
	e.must(db.Apply(e.ctx, ownStep("a", 1, put(numbered("a", 1)))), "Apply")
	l.want(driver.Added, a, `{"n":1}`)
	e.must(db.Apply(e.ctx, ownStep("a", 2)), "a step without a write")
	e.must(db.Apply(e.ctx, ownStep("a", 3, put(numbered("a", 2)))), "Apply")
	l.want(driver.Updated, a, `{"n":2}`)
	e.must(db.Apply(e.ctx, ownStep("a", 4, remove("a"))), "Apply")
	l.want(driver.Removed, a, "")
	e.must(db.Apply(e.ctx, ownStep("a", 5, remove("a"))), "Apply of a delete of a deleted row")
	e.must(db.Apply(e.ctx, ownStep("a", 6)), "a step without a write")
	e.must(db.Apply(e.ctx, ownStep("a", 7, put(numbered("a", 3)))), "Apply")
	l.want(driver.Added, a, `{"n":3}`)
}

func changesOfARowComeInOrder(e *env) {
	db := e.table(plainTable)
	l := e.listen(plainTable)
	const writers, each = 8, 20
	race(writers, func(i int) {
		own := fmt.Sprintf("own%d", i)
		for n := range each {
			switch {
			case n%9 == 8 && i == 0: // no other writer deletes it, and i has written it before
				e.try(e.write(db, remove("shared")), "delete")
			default:
				e.try(e.write(db, put(numbered("shared", n))), "write")
			}
			e.try(e.write(db, put(numbered(own, n))), "write")
			e.try(e.write(db, put(numbered(own, n))), "write")
		}
	})
	last := map[string]uint64{}
	there := map[string]bool{}
	counts := map[string]int{}
	for range 3 * writers * each {
		c := l.next()
		counts[c.ID]++
		switch c.Kind {
		case driver.Added:
			e.errorIf(there[c.ID], "%s is Added though it was there", c.ID)
		case driver.Updated, driver.Removed:
			e.errorIf(!there[c.ID], "%s is %s though it was not there", c.ID, c.Kind)
		default:
			e.Errorf("unknown kind of change %q", c.Kind)
		}
		there[c.ID] = c.Kind != driver.Removed
		if c.Revision < last[c.ID] || c.Revision == last[c.ID] && c.Kind != driver.Removed {
			e.Errorf("the change %s of %s has revision %d after %d", c.Kind, c.ID, c.Revision, last[c.ID])
		}
		last[c.ID] = c.Revision
		if e.Failed() {
			return
		}
	}
	if counts["shared"] != writers*each {
		e.Errorf("%d changes of the shared row were published, want %d", counts["shared"], writers*each)
	}
	for i := range writers {
		if got := counts[fmt.Sprintf("own%d", i)]; got != 2*each {
			e.Errorf("%d changes of own%d were published, want %d", got, i, 2*each)
		}
	}
}

func everySubscriberGetsEveryChange(e *env) {
	db := e.table(plainTable)
	one, two := e.listen(plainTable), e.listen(plainTable)
	for n := range 50 {
		e.save(db, numbered(fmt.Sprintf("id%d", n), n))
	}
	for _, l := range []*listener{one, two} {
		got := map[string]int{}
		for range 50 {
			got[l.next().ID]++
		}
		e.errorIf(len(got) != 50, "a subscriber got changes of %d rows, want 50", len(got))
	}
	one.cancel()
	if err := <-one.ended; err != nil {
		e.Errorf("a cancelled subscription ended with %v, want no error", err)
	}
	e.save(db, numbered("late", 1))
	two.want(driver.Added, driver.Key{ID: "late"}, `{"n":1}`)
}

func aSubscriptionBeginsWhenItIsMade(e *env) {
	db := e.table(plainTable)
	for n := range 5 {
		e.save(db, numbered("before", n))
	}
	seq, cancel := e.subscribe(plainTable)
	e.save(db, numbered("a", 1)) // after Subscribe, before the sequence is ranged over
	l := e.listenTo(seq, cancel)
	for {
		c := l.next()
		if c.ID == "before" && e.Lag > 0 {
			continue // a change from before may still be on its way
		}
		e.errorIf(c.ID != "a", "got a change of %q, made before the subscription", c.ID)
		break
	}
}

func readModelsArePublishedApart(e *env) {
	one, two := driver.TableSpec{Name: "Test.One"}, driver.TableSpec{Name: "Test.Two"}
	db1, db2 := e.table(one), e.table(two)
	l := e.listen(two)
	e.save(db1, numbered("a", 1))
	e.save(db2, numbered("a", 2))
	c := l.want(driver.Added, driver.Key{ID: "a"}, `{"n":2}`)
	e.errorIf(c.ReadModel != two.Name, "the change is of the read model %q, want %q", c.ReadModel, two.Name)
}

func (l *listener) wantEnd(what string) error {
	l.e.Helper()
	timer := time.NewTimer(l.e.Patience)
	defer timer.Stop()
	select {
	case err := <-l.ended:
		return err
	case <-timer.C:
		l.e.Fatalf("%s: the sequence did not end within %v", what, l.e.Patience)
		return nil
	}
}

func aCancelledSubscriptionEnds(e *env) {
	db := e.table(plainTable)
	l := e.listen(plainTable)
	e.save(db, numbered("a", 1))
	l.want(driver.Added, driver.Key{ID: "a"}, `{"n":1}`)
	l.cancel()
	if err := l.wantEnd("cancelled"); err != nil {
		e.Errorf("a cancelled subscription ended with %v, want no error", err)
	}
	// Cancelled before it was ranged over.
	seq, cancel := e.subscribe(plainTable)
	cancel()
	if err := e.listenTo(seq, cancel).wantEnd("cancelled before its range"); err != nil {
		e.Errorf("a cancelled subscription ended with %v, want no error", err)
	}
}

// writeInTime writes while a subscriber does not read.
func (e *env) writeInTime(db driver.QueryDb, writes ...driver.RowWrite) {
	e.Helper()
	ctx, stop := context.WithTimeout(e.ctx, e.Patience)
	defer stop()
	e.must(db.Apply(ctx, driver.Step{Writes: writes}), "write while a subscriber does not read")
}

func aSlowSubscriberDelaysNoWriter(e *env) {
	db := e.table(plainTable)
	seq, cancel := e.subscribe(plainTable)
	writes, each := 120, min(50, e.Provider.Limits().MaxStep)
	for n := range writes { // without a reader
		var writes []driver.RowWrite
		for i := range each {
			writes = append(writes, put(numbered(fmt.Sprintf("id%d", i), n)))
		}
		e.writeInTime(db, writes...)
	}
	// The subscriber gets all changes, or the first changes of each row and then the
	// error, never a gap.
	l := e.listenTo(seq, cancel)
	next := map[string]int{}
	got := 0
	take := func(c driver.StateChange) {
		if want := fmt.Sprintf(`{"n":%d}`, next[c.ID]); string(c.Row) != want {
			e.Fatalf("the change of %s is %s, want %s: changes were skipped", c.ID, c.Row, want)
		}
		next[c.ID]++
		got++
	}
	timer := time.NewTimer(e.Patience)
	defer timer.Stop()
	for got < writes*each {
		timer.Reset(e.Patience)
		select {
		case c := <-l.changes:
			take(c)
		case err := <-l.ended:
			for len(l.changes) > 0 {
				take(<-l.changes)
			}
			if got < writes*each {
				e.wantClass(err, driver.ErrUnavailable, "the end after %d of %d changes", got, writes*each)
			}
			return
		case <-timer.C:
			e.Fatalf("after %d of %d changes the subscriber got neither a change nor the end", got, writes*each)
		}
	}
}

func aSubscriberMayStopListening(e *env) {
	db := e.table(plainTable)
	seq, cancel := e.subscribe(plainTable)
	defer cancel()
	e.save(db, numbered("a", 1))
	for c, err := range seq {
		e.must(err, "the first change")
		e.errorIf(c.ID != "a", "got a change of %q, want a", c.ID)
		break
	}
	for n := range 200 {
		e.writeInTime(db, put(numbered("a", n)))
	}
}

func changesBelongToTheCaller(e *env) {
	db := e.table(plainTable)
	one, two := e.listen(plainTable), e.listen(plainTable)
	e.save(db, numbered("a", 1))
	c := one.want(driver.Added, driver.Key{ID: "a"}, `{"n":1}`)
	wipe(c.Row)
	two.want(driver.Added, driver.Key{ID: "a"}, `{"n":1}`)
	e.wantRow(db, numbered("a", 1))
	e.delete(db, driver.Key{ID: "a"})
	c = one.want(driver.Removed, driver.Key{ID: "a"}, `{"n":1}`)
	wipe(c.Row)
	two.want(driver.Removed, driver.Key{ID: "a"}, `{"n":1}`)
}
