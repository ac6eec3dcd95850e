package drivertest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestDeadLetters runs the suite of [driver.DeadLetters].
func TestDeadLetters(t *testing.T, open Open) { deadLettersSuite().run(t, open) }

func deadLettersSuite() suite {
	return suite{"DeadLetters", []property{
		{"EverythingOfALetterIsKept", everythingOfALetterIsKept},
		{"ParkReplacesTheLetterOfItsID", parkReplacesTheLetterOfItsID},
		{"LettersAreListedByIDAndComponent", lettersAreListedByIDAndComponent},
		{"RemoveRemovesOneLetter", removeRemovesOneLetter},
		{"LettersWithoutIDOrComponentAreRefused", lettersWithoutIDOrComponentAreRefused},
		{"LetterIDsAreKeptApart", letterIDsAreKeptApart},
		{"LargeLettersAreKept", largeLettersAreKept},
		{"LettersDoNotExpire", lettersDoNotExpire},
		cancelledCallsFail(deadLettersCalls),
		{"ArgumentsAreNotKept", parkDoesNotKeepItsArgument},
		{"LettersSurviveReopening", lettersSurviveReopening},
	}}
}

func (e *env) deadLetters() driver.DeadLetters {
	e.Helper()
	d, err := e.Provider.OpenDeadLetters(e.ctx)
	return opened(e, d, err)
}

func letterOf(id, component string) driver.DeadLetter {
	return driver.DeadLetter{
		ID: id, Component: component, Kind: driver.DeadCommand, Stream: "s", Body: []byte(`{"of": "` + component + `"}`),
		Reason: "it failed", Attempts: 3, ParkedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
}

func (e *env) park(d driver.DeadLetters, ls ...driver.DeadLetter) {
	e.Helper()
	for _, l := range ls {
		e.must(d.Park(e.ctx, l), "Park(%s)", short(l.ID))
	}
}

func diffLetter(got, want driver.DeadLetter) string {
	if !got.ParkedAt.Equal(want.ParkedAt) {
		return fmt.Sprintf("ParkedAt is %v, want %v", got.ParkedAt, want.ParkedAt)
	}
	if !bytes.Equal(got.Body, want.Body) {
		return fmt.Sprintf("the body is %s, want %s", short(string(got.Body)), short(string(want.Body)))
	}
	got.ParkedAt, got.Body, want.ParkedAt, want.Body = time.Time{}, nil, time.Time{}, nil
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		return fmt.Sprintf("got %s, want %s", g, w)
	}
	return ""
}

func (e *env) wantLetter(d driver.DeadLetters, want driver.DeadLetter) {
	e.Helper()
	got, err := d.Get(e.ctx, want.ID)
	if !e.try(err, "Get(%s)", short(want.ID)) {
		return
	}
	e.noDiff(diffLetter(got, want), "Get(%s)", short(want.ID))
	list, err := d.List(e.ctx, want.Component, "", 10_000)
	if !e.try(err, "List") {
		return
	}
	i := slices.IndexFunc(list, func(l driver.DeadLetter) bool { return l.ID == want.ID })
	if i < 0 {
		e.Errorf("List of %q does not have %s", want.Component, short(want.ID))
		return
	}
	e.noDiff(diffLetter(list[i], want), "List: %s", short(want.ID))
}

func everythingOfALetterIsKept(e *env) {
	d := e.deadLetters()
	_, err := d.Get(e.ctx, "nobody")
	e.wantClass(err, driver.ErrNotFound, "Get of an unknown letter")
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	at := time.Date(2024, time.February, 29, 23, 59, 59, 123456789, time.UTC)
	letters := []driver.DeadLetter{
		{ID: "command", Component: "Test.Thing", Kind: driver.DeadCommand, Stream: "entity", Body: []byte(` {"a" : "<&>` + "\u2028" + `"} `), Reason: "no <such> type & \"more\" \u2028", Attempts: 5, ParkedAt: at},
		{ID: "commit", Component: "Test.Rows", Kind: driver.DeadCommit, Log: "Test.Thing", Stream: "日本", SequenceNr: 1<<53 + 1, Reason: "r", Attempts: 1, ParkedAt: at.Add(time.Hour)},
		{ID: "object", Component: "Test.Task", Kind: driver.DeadObject, Stream: "dir/file", Body: []byte(`{}`), ParkedAt: at},
		{ID: "firing", Component: "Test.Clock", Kind: driver.DeadFiring, Body: []byte(`null`), Reason: "r", ParkedAt: at},
		{ID: "raw", Component: "Test.Thing", Kind: driver.DeadRaw, Body: binary, Reason: "not JSON", Attempts: 1, ParkedAt: at},
		{ID: "little", Component: "C"},
	}
	e.park(d, letters...)
	for _, l := range letters {
		e.wantLetter(d, l)
	}
}

func parkReplacesTheLetterOfItsID(e *env) {
	d := e.deadLetters()
	first := letterOf("id", "Test.One")
	e.park(d, first, letterOf("other", "Test.One"))
	e.park(d, first)
	second := letterOf("id", "Test.Two")
	second.Body, second.Reason, second.Attempts, second.Kind = []byte("other"), "another reason", 9, driver.DeadRaw
	e.park(d, second)
	e.wantLetter(d, second)
	for component, want := range map[string][]string{"": {"id", "other"}, "Test.One": {"other"}, "Test.Two": {"id"}} {
		e.wantLetters(d, component, "", 10, want...)
	}
	race(8, func(i int) {
		l := letterOf("raced", "Test.One")
		l.Attempts = i
		e.try(d.Park(e.ctx, l), "Park")
	})
	e.wantLetters(d, "", "", 10, "id", "other", "raced")
}

func (e *env) wantLetters(d driver.DeadLetters, component, after string, limit int, want ...string) {
	e.Helper()
	list, err := d.List(e.ctx, component, after, limit)
	wantList(e, list, err, func(l driver.DeadLetter) string { return l.ID }, want, "List(%q, %q, %d)", component, after, limit)
}

func lettersAreListedByIDAndComponent(e *env) {
	d := e.deadLetters()
	e.wantLetters(d, "", "", 10)
	e.wantLetters(d, "Test.A", "", 10)
	var all []driver.DeadLetter
	for i := range 60 {
		all = append(all, letterOf(fmt.Sprintf("id%d", (i*37)%60), []string{"Test.A", "Test.B", "Test.AB"}[i%3]))
	}
	all = append(all, letterOf("ID", "Test.A"), letterOf("id", "Test.A"), letterOf("ä", "Test.A"), letterOf("\uffff", "Test.A"), letterOf("😀", "Test.B"))
	e.park(d, all...)
	slices.SortFunc(all, func(a, b driver.DeadLetter) int { return strings.Compare(a.ID, b.ID) })
	for _, component := range []string{"", "Test.A", "Test.B", "Test.AB", "Test", "test.a", "Test.A "} {
		for _, after := range []string{"", "ID", "id", "id2", "id2x", "id59", "z", "\uffff", "😀", "zzz"} {
			var want []string
			for _, l := range all {
				if (component == "" || l.Component == component) && l.ID > after {
					want = append(want, l.ID)
				}
			}
			for _, limit := range []int{1, 7, 1000} {
				e.wantLetters(d, component, after, limit, want[:min(limit, len(want))]...)
			}
		}
	}
}

func removeRemovesOneLetter(e *env) {
	d := e.deadLetters()
	e.park(d, letterOf("a", "Test.A"), letterOf("b", "Test.A"))
	e.must(d.Remove(e.ctx, "nobody"), "Remove of an unknown letter")
	e.must(d.Remove(e.ctx, "a"), "Remove")
	e.must(d.Remove(e.ctx, "a"), "Remove again")
	_, err := d.Get(e.ctx, "a")
	e.wantClass(err, driver.ErrNotFound, "Get of a removed letter")
	e.wantLetters(d, "", "", 10, "b")
	e.wantLetters(d, "Test.A", "", 10, "b")
	e.park(d, letterOf("a", "Test.A"))
	e.wantLetters(d, "Test.A", "", 10, "a", "b")
}

func lettersWithoutIDOrComponentAreRefused(e *env) {
	d := e.deadLetters()
	e.wantClass(d.Park(e.ctx, letterOf("", "Test.A")), driver.ErrInvalid, "Park without an id")
	e.wantClass(d.Park(e.ctx, letterOf("a", "")), driver.ErrInvalid, "Park without a component")
	e.wantLetters(d, "", "", 10)
}

func letterIDsAreKeptApart(e *env) {
	d := e.deadLetters()
	ids := goodIDs()
	for i, id := range ids {
		e.park(d, letterOf(id, fmt.Sprintf("Test.C%d", i)))
	}
	for i, id := range ids {
		e.wantLetter(d, letterOf(id, fmt.Sprintf("Test.C%d", i)))
	}
	slices.Sort(ids)
	e.wantLetters(d, "", "", 1000, ids...)
}

func largeLettersAreKept(e *env) {
	// Nothing undeliverable is dropped: what a queue takes can be parked.
	d := e.deadLetters()
	var all []string
	for i := range 5 { // together more than a page of 1 MB
		l := letterOf(fmt.Sprintf("id%d", i), "Test.A")
		l.Body = bytes.Repeat([]byte{byte(i), 0xff, '"'}, min(e.Provider.Limits().MaxCommandBytes, maxTested)/3)
		e.park(d, l)
		got, err := d.Get(e.ctx, l.ID)
		e.errorIf(e.try(err, "Get") && !bytes.Equal(got.Body, l.Body), "a body of %d bytes was returned with %d", len(l.Body), len(got.Body))
		all = append(all, l.ID)
	}
	e.wantLetters(d, "Test.A", "", 10, all...)
}

func lettersDoNotExpire(e *env) {
	d := e.deadLetters()
	l := letterOf("a", "Test.A")
	e.park(d, l)
	e.advance(10 * 365 * 24 * time.Hour)
	e.wantLetter(d, l)
}

func parkDoesNotKeepItsArgument(e *env) {
	d := e.deadLetters()
	l := letterOf("a", "Test.A")
	e.park(d, l)
	copy(l.Body, "!!!!!!!!!!")
	for range 2 {
		e.wantLetter(d, letterOf("a", "Test.A"))
		got, err := d.Get(e.ctx, "a")
		e.must(err, "Get")
		copy(got.Body, "!!!!!!!!!!")
		list, err := d.List(e.ctx, "", "", 10)
		e.must(err, "List")
		for _, l := range list {
			copy(l.Body, "!!!!!!!!!!")
		}
	}
}

func lettersSurviveReopening(e *env) {
	e.needReopen()
	d := e.deadLetters()
	e.park(d, letterOf("a", "Test.A"), letterOf("b", "Test.B"))
	e.must(d.Remove(e.ctx, "b"), "Remove")
	e.reopen()
	d = e.deadLetters()
	e.wantLetter(d, letterOf("a", "Test.A"))
	e.wantLetters(d, "", "", 10, "a")
}
