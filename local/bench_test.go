package local_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/local/sqlite"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// tally is a typical aggregate with small events and a small state.
var tally = aggregate.New(aggregate.Spec[cellState, cellCommand, cellEvent]{
	Name:     "Tally",
	Commands: message.NewSet[cellCommand](add{}, read{}),
	Events:   message.NewSet[cellEvent](added{}),
	Decide:   decideCell,
	Evolve:   evolveCell,
})

type sum struct{ Sum, Events int }

var sums = readmodel.New(readmodel.Spec[sum]{
	Name: "Sums",
	Projections: readmodel.Projections[sum]{
		readmodel.On(tally, func(e message.Event[cellEvent]) readmodel.Changes[sum] {
			n := e.Data.(added).N
			return readmodel.UpdateOrCreate(e.EntityID, sum{}, func(r *sum) {
				r.Sum += n
				r.Events++
			})
		}),
	},
})

func tallies() *reventless.App {
	return reventless.New("tallies", plugin.New(plugin.Spec{
		Name: "Test", Heartbeat: -1, Components: plugin.Components{tally, sums},
	}))
}

func openTallies(b *testing.B, path string, cache int) *local.Host {
	b.Helper()
	h, err := local.Open(b.Context(), tallies(), path, &local.Options{Logger: silent, CacheEntries: cache})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := h.Close(); err != nil {
			b.Error(err)
		}
	})
	return h
}

// fill writes commits to a log without the engine, which is much faster. They include
// the snapshots that the engine would make, and are a day old unless they are recent.
func fill(b *testing.B, path string, streams []string, commits, events int, recent bool) {
	b.Helper()
	age := 24 * time.Hour
	if recent {
		age = 0
	}
	p, err := sqlite.Open(b.Context(), path, &sqlite.Options{Now: func() time.Time { return time.Now().Add(-age) }})
	if err != nil {
		b.Fatal(err)
	}
	log, err := p.OpenEventLog(b.Context(), "Test.Tally")
	if err != nil {
		b.Fatal(err)
	}
	work := make(chan driver.Commit)
	var wg sync.WaitGroup
	for range 128 { // concurrent appends share transactions
		wg.Go(func() {
			for c := range work {
				if err := log.Append(b.Context(), c); err != nil {
					b.Error(err)
				}
			}
		})
	}
	event, err := tally.Spec().Events.Encode(added{7})
	if err != nil {
		b.Fatal(err)
	}
	for _, stream := range streams {
		state := tally.Definition().Aggregate.NewState()
		var remembered []driver.RememberedCommand
		unsnapped := 0
		for n := uint64(1); n <= uint64(commits); n++ {
			c := driver.Commit{
				Stream: stream, SequenceNr: n, Events: make([]driver.Event, events),
				Commands: []driver.AnsweredCommand{{Meta: driver.Meta{
					ID: fmt.Sprintf("0192f3a4-7b1c-7d2e-8f3a-%012d", n), Service: "Test.Tally", Time: time.Unix(1_700_000_000, 0).UTC(),
				}, EventCount: events}},
			}
			for i := range c.Events {
				c.Events[i] = event
				if err := state.Apply(event); err != nil {
					b.Fatal(err)
				}
			}
			remembered = append(remembered, driver.RememberedCommand{Hash: driver.HashID(c.Commands[0].Meta.ID), SequenceNr: n, EventCount: events})
			remembered = remembered[max(0, len(remembered)-256):]
			if unsnapped += events; unsnapped >= aggregate.DefaultSnapshotEvery {
				unsnapped = 0
				data, err := state.Snapshot()
				if err != nil {
					b.Fatal(err)
				}
				c.Snapshot = &driver.Snapshot{
					SnapshotHead: driver.SnapshotHead{Shape: tally.Definition().Aggregate.Shape, Folded: []string{event.Type + "/1"}},
					State:        data, From: remembered[0].SequenceNr, Since: time.Now().Add(-age), Remembered: slices.Clone(remembered),
				}
			}
			work <- c
		}
	}
	close(work)
	wg.Wait()
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = prefix + strconv.Itoa(i)
	}
	return all
}

// BenchmarkColdCommand sends commands to entities that are not in the cache and compares
// a history of 10,000 events with one of 100. The target is a factor of at most 2.
// The events are a day old: the commands of the last minutes are read to recognise a
// repetition, see [BenchmarkColdCommandRecent].
func BenchmarkColdCommand(b *testing.B) {
	short, long := names("short", 4), names("long", 4)
	for name, c := range map[string]struct {
		command cellCommand
		kind    driver.OutcomeKind
	}{"accepted": {add{1}, driver.Accepted}, "rejected": {read{}, driver.Rejected}} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "app.db")
			fill(b, path, short, 100, 1, false)
			fill(b, path, long, 10_000, 1, false)
			h := openTallies(b, path, -1)
			var took [2]time.Duration
			send := func(which int, entity string) {
				start := time.Now()
				o, err := h.Send(b.Context(), "", tally.To(entity, c.command))
				took[which] += time.Since(start)
				if err != nil || o.Kind != c.kind {
					b.Fatalf("got %+v, %v", o, err)
				}
			}
			n := 0
			for b.Loop() { // alternating, so that both see the same disk
				send(0, short[n%len(short)])
				send(1, long[n%len(long)])
				n++
			}
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
			b.ReportMetric(per(took[0]), "µs/100-events")
			b.ReportMetric(per(took[1]), "µs/10000-events")
			b.ReportMetric(float64(took[1])/float64(took[0]), "x-of-100-events")
		})
	}
}

// BenchmarkColdCommandRecent sends commands to entities that are not in the cache and
// have 10,000 events of the last minutes.
func BenchmarkColdCommandRecent(b *testing.B) {
	busy := names("busy", 4)
	path := filepath.Join(b.TempDir(), "app.db")
	fill(b, path, busy, 10_000, 1, true)
	h := openTallies(b, path, -1)
	n := 0
	for b.Loop() {
		if o, err := h.Send(b.Context(), "", tally.To(busy[n%len(busy)], add{1})); err != nil || o.Kind != driver.Accepted {
			b.Fatalf("got %+v, %v", o, err)
		}
		n++
	}
}

// BenchmarkSend compares durable commands to many entities, sent by one client and by
// 64, with bare appends to the same kind of log.
func BenchmarkSend(b *testing.B) {
	const turn = 512
	dir := b.TempDir()
	p, err := sqlite.Open(b.Context(), filepath.Join(dir, "bare.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	log, err := p.OpenEventLog(b.Context(), "Test.Tally")
	if err != nil {
		b.Fatal(err)
	}
	event, err := tally.Spec().Events.Encode(added{1})
	if err != nil {
		b.Fatal(err)
	}
	one, many := openTallies(b, filepath.Join(dir, "one.db"), 0), openTallies(b, filepath.Join(dir, "many.db"), 0)
	send := func(h *local.Host, i int) {
		o, err := h.Send(b.Context(), "", tally.To("t"+strconv.Itoa(i%1000), add{1}))
		if err != nil || o.Kind != driver.Accepted {
			b.Errorf("got %+v, %v", o, err)
		}
	}
	candidates := []func(from int){
		func(from int) {
			for i := from; i < from+turn; i++ {
				err := log.Append(b.Context(), driver.Commit{
					Stream: "t" + strconv.Itoa(i%1000), SequenceNr: uint64(i/1000 + 1), Events: []driver.Event{event},
					Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprintf("0192f3a4-7b1c-7d2e-8f3a-%012d", i), Service: "Test.Tally"}, EventCount: 1}},
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		},
		func(from int) {
			for i := from; i < from+turn; i++ {
				send(one, i)
			}
		},
		func(from int) {
			var next atomic.Int64
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for n := next.Add(1); n <= turn; n = next.Add(1) {
						send(many, from+int(n)-1)
					}
				})
			}
			wg.Wait()
		},
	}
	took := make([]time.Duration, len(candidates))
	turns := 0
	for b.Loop() {
		for i, f := range candidates {
			start := time.Now()
			f(turns * turn)
			took[i] += time.Since(start)
		}
		turns++
	}
	rate := func(i int) float64 { return float64(turns*turn) / took[i].Seconds() }
	b.ReportMetric(rate(0), "appends/s")
	b.ReportMetric(rate(1), "commands/s")
	b.ReportMetric(rate(2), "commands-of-64/s")
	b.ReportMetric(rate(1)/rate(0), "x-of-append")
	b.ReportMetric(rate(2)/rate(1), "x-of-one-client")
}

// BenchmarkRebuild rebuilds a read model from a log of 100,000 events and from one of
// 1,000,000. It compares the rate with only reading and decoding the log, and the
// memory with that of the short log, which it must not exceed.
func BenchmarkRebuild(b *testing.B) {
	for b.Loop() {
		small, large := rebuild(b, 100_000), rebuild(b, 1_000_000)
		b.ReportMetric(large.rate, "events/s")
		b.ReportMetric(large.rate/large.bare, "x-of-decoding")
		b.ReportMetric(large.allocs, "allocs/event")
		b.ReportMetric(small.peak/1e6, "MB-of-100k")
		b.ReportMetric(large.peak/1e6, "MB-of-1M")
		b.ReportMetric(large.peak/small.peak, "x-memory-of-100k")
	}
}

type rebuilt struct{ rate, bare, peak, allocs float64 }

func rebuild(b *testing.B, events int) (r rebuilt) {
	b.Helper()
	const streams, perCommit = 1000, 50
	path := filepath.Join(b.TempDir(), "app.db")
	fill(b, path, names("t", streams), events/streams/perCommit, perCommit, false)
	r.bare = float64(events) / decodeAll(b, path, events).Seconds()

	h := openTallies(b, path, 0)
	peak := resetPeak(b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	commits := 0
	if err := h.Rebuild(b.Context(), "Sums", func(r local.Rebuild) { commits = int(r.Done) }); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	r.peak = peak()
	r.rate = float64(events) / took.Seconds()
	r.allocs = float64(after.Mallocs-before.Mallocs) / float64(events)

	rows, total := 0, 0
	for row, err := range sums.Open(h.Env()).All(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		rows++
		if total += row.Events; row.Sum != 7*row.Events {
			b.Fatalf("got %+v", row)
		}
	}
	if rows != streams || total != events || commits != events/perCommit {
		b.Fatalf("%d rows of %d events from %d commits, want %d of %d from %d", rows, total, commits, streams, events, events/perCommit)
	}
	return r
}

// decodeAll reads a log and decodes each event in a plain loop.
func decodeAll(b *testing.B, path string, events int) time.Duration {
	b.Helper()
	p, err := sqlite.Open(b.Context(), path, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	log, err := p.OpenEventLog(b.Context(), "Test.Tally")
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	n := 0
	for c, err := range log.Scan(b.Context(), 0, 1) {
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range c.Events {
			var a added
			if err := json.Unmarshal(e.Data, &a); err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	if n != events {
		b.Fatalf("%d events, want %d", n, events)
	}
	return time.Since(start)
}

// resetPeak starts to measure the peak memory of the process, which the returned
// function returns. The operating system measures it, because SQLite's memory is not on
// the Go heap. Where it cannot, the size of the Go heap is used.
func resetPeak(b *testing.B) func() float64 {
	b.Helper()
	debug.FreeOSMemory()
	if os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) != nil {
		return func() float64 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapSys)
		}
	}
	return func() float64 {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		return kb * 1024
	}
}

// BenchmarkFold applies 10,000 stored events to the state of an entity and compares
// that with only decoding their JSON.
func BenchmarkFold(b *testing.B) {
	const n = 10_000
	events := make([]driver.Event, n)
	for i := range events {
		var err error
		if events[i], err = tally.Spec().Events.Encode(added{i}); err != nil {
			b.Fatal(err)
		}
	}
	fold := func() {
		f := tally.Definition().Aggregate.NewState()
		for _, e := range events {
			if err := f.Apply(e); err != nil {
				b.Fatal(err)
			}
		}
	}
	decode := func() {
		for _, e := range events {
			var a added
			if err := json.Unmarshal(e.Data, &a); err != nil {
				b.Fatal(err)
			}
		}
	}
	var folding, decoding time.Duration
	turns := 0
	for b.Loop() {
		start := time.Now()
		fold()
		middle := time.Now()
		decode()
		folding, decoding = folding+middle.Sub(start), decoding+time.Since(middle)
		turns++
	}
	b.ReportMetric(float64(folding.Nanoseconds())/float64(turns*n), "ns/event")
	b.ReportMetric(float64(folding)/float64(decoding), "x-of-decoding")
	b.ReportMetric(testing.AllocsPerRun(3, fold)/n, "allocs/event")
	b.ReportMetric(testing.AllocsPerRun(3, decode)/n, "allocs/event-of-decoding")
}
