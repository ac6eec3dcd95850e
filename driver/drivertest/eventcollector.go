package drivertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// TestEventCollector runs the suite of event collectors, see [driver.Record], on a
// log's change feed. [TestEventTopic] runs it on a topic.
func TestEventCollector(t *testing.T, open Open) { eventCollectorSuite().run(t, open) }

func eventCollectorSuite() suite {
	return suite{"EventCollector", slices.Concat(receiverProperties(true, feedQueue), recordProperties(feedRecords), []property{
		{"ANewConsumerStartsAtTheFirstCommit", aNewConsumerStartsAtTheFirstCommit},
		{"CommitsThatFinishOutOfOrderAreNotSkipped", commitsThatFinishOutOfOrderAreNotSkipped},
		{"AConsumerMissesNothingDuringWrites", aConsumerMissesNothingDuringWrites},
		{"ConsumersAreIndependent", consumersAreIndependent},
		{"LogsAreCollectedApart", logsAreCollectedApart},
		{"HandlesOfAConsumerShareItsCheckpoint", handlesOfAConsumerShareItsCheckpoint},
		{"TheCheckpointIsDurable", theCheckpointIsDurable},
		{"RefusedAppendsAreNotDelivered", refusedAppendsAreNotDelivered},
		cancelledCallsFail(eventCollectorCalls),
		{"RecordsBelongToTheCaller", recordsBelongToTheCaller},
		{"LagCountsWhatIsNotSettled", lagCountsWhatIsNotSettled},
		{"CountCommitsCountsAllStreams", countCommitsCountsAllStreams},
		{"DamagedCommitsAreDelivered", damagedCommitsAreDelivered},
	})}
}

// records are a source of commits of Test.Log and a collector of it.
type records struct {
	driver.Receiver[driver.Record]
	// commit appends commits to the log, and publishes them if the source is a topic.
	commit func(cs ...driver.Commit)
}

func feedRecords(e *env) records {
	l := e.eventLog("Test.Log")
	return records{e.collector("Test.Consumer", "Test.Log", false), func(cs ...driver.Commit) {
		for _, c := range cs {
			e.must(l.Append(e.ctx, c), "append %s at %d", short(c.Stream), c.SequenceNr)
		}
	}}
}

// recordProperties are those of the records of every source.
func recordProperties(opened func(e *env) records) []property {
	with := func(check func(e *env, r records)) func(*env) {
		return func(e *env) { check(e, opened(e)) }
	}
	return []property{
		{"RecordsCarryTheirCommit", with(recordsCarryTheirCommit)},
		{"StreamIDsAreKept", with(recordsKeepStreamIDs)},
		{"LargeCommitsAreDelivered", with(largeCommitsAreDelivered)},
	}
}

func (e *env) collector(consumer, log string, topic bool) driver.Receiver[driver.Record] {
	e.Helper()
	spec := driver.CollectorSpec{Consumer: consumer, Source: driver.Source{Log: log, Topic: topic}}
	c, err := e.Provider.OpenEventCollector(e.ctx, spec)
	e.must(err, "OpenEventCollector(%+v)", spec)
	return c
}

func placeOfRecord(r driver.Record) place { return place{r.Stream, int(r.SequenceNr)} }

func feedQueue(e *env) queue[driver.Record] {
	l := e.eventLog("Test.Log")
	return queue[driver.Record]{
		Receiver: e.collector("Test.Consumer", "Test.Log", false),
		put: func(group string, n int) {
			e.try(l.Append(e.ctx, commitOf(group, uint64(n), "w")), "append %s at %d", short(group), n)
		},
		place:   placeOfRecord,
		repeats: true,
	}
}

// collected returns a queue that only receives the messages of a collector.
func collected(c driver.Receiver[driver.Record]) queue[driver.Record] {
	return queue[driver.Record]{Receiver: c, place: placeOfRecord, repeats: true}
}

// wantRecord checks a record of Test.Log against its commit.
func wantRecord(e *env, r driver.Record, want driver.Commit) {
	const log = "Test.Log"
	e.Helper()
	e.errorIf(r.Err != nil || r.Raw != nil, "the record of commit %d of %s could not be decoded: %v", want.SequenceNr, short(want.Stream), r.Err)
	e.errorIf(r.Log != log || r.Stream != want.Stream || r.SequenceNr != want.SequenceNr, "got a record of commit %d of %s in %q, want %d of %s in %q", r.SequenceNr, short(r.Stream), r.Log, want.SequenceNr, short(want.Stream), log)
	if r.Commit == nil {
		return // it did not travel along
	}
	e.noDiff(diffCommit(*r.Commit, want, allowSnapshots), "the record's commit")
	e.errorIf(r.Commit.RecordedAt.IsZero(), "the record's commit has no RecordedAt")
}

func aNewConsumerStartsAtTheFirstCommit(e *env) {
	l := e.eventLog("Test.Log")
	e.fill(l, "a", 1, 5)
	e.fill(l, "b", 1, 5)
	q := collected(e.collector("Test.Late", "Test.Log", false))
	inOrder(e, drain(e, q, 10), 2, 5)
	nothing(e, q, "though all were settled")
}

func recordsCarryTheirCommit(e *env, r records) {
	var want []driver.Commit
	for i, text := range oddJSON() {
		c := commitOf("s", uint64(i+1), "w")
		c.Events[0].Data = []byte(text)
		c.Commands[0].Meta.Headers = map[string]string{"Ä\u2028": "<&>"}
		if i%3 == 0 {
			c = withSnapshot(c, 1)
		}
		want = append(want, c)
	}
	r.commit(want...)
	wantRecords(e, r.Receiver, want)
}

// wantRecords receives and settles the records of commits of one stream of Test.Log.
func wantRecords(e *env, c driver.Receiver[driver.Record], want []driver.Commit) {
	e.Helper()
	for i := 0; i < len(want) && !e.Failed(); {
		ds := batch(e, c, 10)
		for _, d := range ds {
			e.fatalIf(i == len(want), "got more records than commits")
			wantRecord(e, d.Message, want[i])
			i++
		}
		settle(e, c, false, ds...)
	}
}

// appendMixed has writers that append small and large commits at the same time, each
// to its own stream.
func (e *env) appendMixed(l driver.EventLog, writers, each int, written func()) {
	large := min(64<<10, e.Provider.Limits().MaxCommitBytes/2)
	race(writers, func(i int) {
		r := rand.New(rand.NewPCG(uint64(i), 3))
		for n := 1; n <= each; n++ {
			c := commitOf(fmt.Sprintf("s%d", i), uint64(n), "w")
			if r.IntN(3) == 0 {
				c = filled(c, large)
			}
			if !e.try(l.Append(e.ctx, c), "append") {
				return
			}
			written()
		}
	})
}

func commitsThatFinishOutOfOrderAreNotSkipped(e *env) {
	// Small and large commits side by side finish in another order than they begin.
	// A feed that takes the highest number that it has seen as its checkpoint skips
	// commits.
	l := e.eventLog("Test.Log")
	const writers, each = 8, 15
	e.appendMixed(l, writers, each, func() {})
	q := collected(e.collector("Test.Consumer", "Test.Log", false))
	inOrder(e, drain(e, q, writers*each), writers, each)
	nothing(e, q, "though all were settled")
}

func aConsumerMissesNothingDuringWrites(e *env) {
	l := e.eventLog("Test.Log")
	c := e.collector("Test.Consumer", "Test.Log", false)
	const writers, each = 8, 30
	var wg sync.WaitGroup
	var written atomic.Int64
	wg.Go(func() { e.appendMixed(l, writers, each, func() { written.Add(1) }) })
	last := map[string]uint64{}
	done := 0
	var wrote int64
	e.poll("all commits", func() (bool, bool) {
		ds, _ := receive(e, c, 7)
		for _, d := range ds {
			r := d.Message
			switch due := last[r.Stream] + 1; {
			case r.SequenceNr == due:
				last[r.Stream] = due
				done++
			case r.SequenceNr > due:
				e.Errorf("of the stream %s commit %d was delivered, want commit %d", r.Stream, r.SequenceNr, due)
			}
		}
		settle(e, c, false, ds...)
		now := written.Load()
		progress := len(ds) > 0 || now != wrote
		wrote = now
		return done >= writers*each, progress
	})
	wg.Wait()
	nothing(e, collected(c), "though all were settled")
}

func consumersAreIndependent(e *env) {
	l := e.eventLog("Test.Log")
	first := collected(e.collector("Test.First", "Test.Log", false))
	e.fill(l, "s", 1, 4)
	inOrder(e, drain(e, first, 4), 1, 4)
	second := collected(e.collector("Test.Second", "Test.Log", false))
	leased := batch(e, second.Receiver, 1) // one consumer's lease or retry does not concern the other
	e.fill(l, "s", 5, 6)
	got := drain(e, first, 2)
	e.errorIf(len(got) == 2 && (got[0] != place{"s", 5} || got[1] != place{"s", 6}), "the first consumer got %v, want commits 5 and 6", got)
	settle(e, second.Receiver, true, leased...)
	inOrder(e, drain(e, second, 6), 1, 6)
	nothing(e, first, "though all were settled")
}

func logsAreCollectedApart(e *env) {
	e.fill(e.eventLog("Test.One"), "s", 1, 3)
	e.fill(e.eventLog("Test.Two"), "s", 1, 2)
	for log, n := range map[string]int{"Test.One": 3, "Test.Two": 2} {
		q := collected(e.collector("Test.Consumer", log, false)) // one consumer, two sources
		ds := batch(e, q.Receiver, 1)
		got := ds[0].Message.Log
		e.errorIf(got != log, "a collector of %s got a record of %s", log, got)
		settle(e, q.Receiver, true, ds...)
		inOrder(e, drain(e, q, n), 1, n)
		nothingNew(e, q, "though all were settled")
	}
}

func handlesOfAConsumerShareItsCheckpoint(e *env) {
	l := e.eventLog("Test.Log")
	one := e.collector("Test.Consumer", "Test.Log", false)
	two := e.collector("Test.Consumer", "Test.Log", false)
	e.fill(l, "s", 1, 3)
	ds := batch(e, one, 1)
	nothing(e, collected(two), "while another handle of the consumer leases its stream")
	settle(e, one, false, ds...)
	if got := drain(e, collected(two), 2); len(got) > 0 && got[0] != (place{"s", 2}) {
		e.Errorf("the second handle starts with %v, want commit 2", got[0])
	}
	nothing(e, collected(one), "though the other handle settled it")
}

func theCheckpointIsDurable(e *env) {
	e.needReopen()
	l := e.eventLog("Test.Log")
	e.fill(l, "a", 1, 6)
	e.fill(l, "b", 1, 2)
	q := collected(e.collector("Test.Consumer", "Test.Log", false))
	drain(e, q, 8)
	e.reopen()
	nothing(e, collected(e.collector("Test.Consumer", "Test.Log", false)), "though it was settled before reopening")
	l = e.eventLog("Test.Log")
	e.fill(l, "a", 7, 8)
	q = collected(e.collector("Test.Consumer", "Test.Log", false))
	if got := drain(e, q, 2); len(got) != 2 || got[0] != (place{"a", 7}) || got[1] != (place{"a", 8}) {
		e.Errorf("after reopening %v was delivered, want commits 7 and 8 of a", got)
	}
	nothing(e, q, "though all were settled")
	// Another consumer still starts at the beginning.
	if got := drain(e, collected(e.collector("Test.New", "Test.Log", false)), 10); len(got) != 10 {
		e.Errorf("a new consumer got %d commits, want 10", len(got))
	}
}

func refusedAppendsAreNotDelivered(e *env) {
	l := e.eventLog("Test.Log")
	q := collected(e.collector("Test.Consumer", "Test.Log", false))
	e.fill(l, "s", 1, 1)
	e.wantClass(l.Append(e.ctx, commitOf("s", 1, "loser")), driver.ErrConflict, "append at a taken number")
	e.wantClass(l.Append(e.ctx, driver.Commit{Stream: "s", SequenceNr: 2}), driver.ErrInvalid, "append of a commit without events")
	e.fill(l, "s", 2, 2)
	inOrder(e, drain(e, q, 2), 1, 2)
	nothing(e, q, "though only two appends succeeded")
}

func recordsKeepStreamIDs(e *env, r records) {
	ids := goodIDs()
	var cs []driver.Commit
	for _, id := range ids {
		cs = append(cs, commitOf(id, 1, "w"))
	}
	r.commit(cs...)
	got := map[string]bool{}
	for _, p := range drain(e, collected(r.Receiver), len(ids)) {
		got[p.group] = true
	}
	for _, id := range ids {
		e.errorIf(!got[id], "no record of the stream %s was delivered", short(id))
	}
}

func largeCommitsAreDelivered(e *env, r records) {
	limit := e.testableLimit("MaxCommitBytes", e.Provider.Limits().MaxCommitBytes)
	snap := withSnapshot(filled(commitOf("s", 3, "w"), almost(limit)/2), 1)
	snap.Snapshot.State = filled(snap, almost(limit)/2-512).Events[0].Data
	want := []driver.Commit{commitOf("s", 1, "w"), filled(commitOf("s", 2, "w"), almost(limit)), snap, commitOf("s", 4, "w")}
	r.commit(want...)
	wantRecords(e, r.Receiver, want)
}

func recordsBelongToTheCaller(e *env) {
	l := e.eventLog("Test.Log")
	want := commitOf("s", 1, "w")
	e.must(l.Append(e.ctx, want), "append")
	c := e.collector("Test.Consumer", "Test.Log", false)
	ds := batch(e, c, 1)
	if cm := ds[0].Message.Commit; cm != nil {
		scribble(*cm)
		*cm = driver.Commit{}
	}
	settle(e, c, true, ds...)
	wantRecord(e, batch(e, c, 1)[0].Message, want)
	e.wantStream(l, "s", []driver.Commit{want})
	wantRecord(e, batch(e, e.collector("Test.Other", "Test.Log", false), 1)[0].Message, want)
}
