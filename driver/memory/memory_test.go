package memory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

// drivers are those drivers of one provider that its own tests use.
type drivers struct {
	provider  *memory.Provider
	log       driver.EventLog
	commands  driver.CommandTopic
	feed      driver.Receiver[driver.Record]
	states    driver.StateTopic
	schedules driver.Scheduler
	firings   driver.Receiver[driver.Firing]
	bucket    driver.Bucket
}

func openAll(t *testing.T, opts *memory.Options) *drivers {
	t.Helper()
	ctx := t.Context()
	p := memory.New(opts)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	d := &drivers{provider: p}
	var errs [7]error
	d.log, errs[0] = p.OpenEventLog(ctx, "Test.Log")
	d.commands, errs[1] = p.OpenCommandTopic(ctx, "Test.Log")
	d.feed, errs[2] = p.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log"}})
	d.states, errs[3] = p.OpenStateTopic(ctx, driver.TableSpec{Name: "Test.Rows"})
	d.schedules, errs[4] = p.OpenScheduler(ctx)
	d.firings, errs[5] = p.OpenScheduleReceiver(ctx)
	d.bucket, errs[6] = p.OpenBucket(ctx, "Test.Files")
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return d
}

func commit(stream string, n uint64) driver.Commit {
	return driver.Commit{
		Stream: stream, SequenceNr: n,
		Events:   []driver.Event{{Type: "Done", Version: 1, Data: json.RawMessage(`{"a":1}`)}},
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprint(stream, n)}, EventCount: 1}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// slowBody is a body that waits before it ends.
type slowBody struct{ started, finish chan struct{} }

func (b slowBody) Read([]byte) (int, error) {
	close(b.started)
	<-b.finish
	return 0, io.EOF
}

func TestCloseWaitsForRunningCalls(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	body := slowBody{make(chan struct{}), make(chan struct{})}
	var events []string
	var mu sync.Mutex
	done := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, what)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.bucket.Put(t.Context(), "k", body); err != nil {
			t.Errorf("Put: %v", err)
		}
	})
	<-body.started
	wg.Go(func() {
		if err := d.provider.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		done("closed")
	})
	for d.commands.Send(t.Context(), nil) == nil { // until Close has begun
		runtime.Gosched()
	}
	done("put")
	close(body.finish)
	wg.Wait()
	if !slices.Equal(events, []string{"put", "closed"}) {
		t.Errorf("got %v, want the put to end first", events)
	}
}

func TestCloseEndsSequences(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	ctx := t.Context()
	must(t, d.log.Append(ctx, commit("a", 1)))
	must(t, d.log.Append(ctx, commit("a", 2)))
	changes, err := d.states.Subscribe(ctx)
	must(t, err)

	var got []error
	for _, err := range d.log.Read(ctx, "a", 0, 0) {
		got = append(got, err)
		must(t, d.provider.Close())
	}
	if len(got) != 2 || got[0] != nil || !errors.Is(got[1], driver.ErrUnavailable) {
		t.Errorf("got %v, want a commit and ErrUnavailable", got)
	}
	got = nil
	for _, err := range changes {
		got = append(got, err)
	}
	if len(got) != 1 || !errors.Is(got[0], driver.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", got)
	}
}

func TestChangesAreRangedOverOnce(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := d.states.Subscribe(ctx)
	must(t, err)
	cancel()
	for c, err := range changes {
		t.Errorf("got %v, %v of a context that is done", c, err)
	}
	n := 0
	for _, err := range changes {
		n++
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	}
	if n != 1 {
		t.Errorf("got %d elements, want the error", n)
	}
}

// receiveAll receives up to n records and returns them as stream/number.
func receiveAll(t *testing.T, c driver.Receiver[driver.Record], n int) (places []string, ids map[string]string) {
	t.Helper()
	b, err := c.Receive(t.Context(), n)
	must(t, err)
	ids = make(map[string]string)
	for _, d := range b.Deliveries {
		place := fmt.Sprint(d.Message.Stream, d.Message.SequenceNr)
		places = append(places, place)
		ids[place] = d.ID
	}
	return places, ids
}

func TestFeedPassesAWaitingStream(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	d := openAll(t, &memory.Options{Now: clock.Now})
	ctx := t.Context()
	add := func(places ...string) {
		for _, p := range places {
			must(t, d.log.Append(ctx, commit(p[:1], uint64(p[1]-'0'))))
		}
	}
	expect := func(n int, want ...string) map[string]string {
		t.Helper()
		got, ids := receiveAll(t, d.feed, n)
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		return ids
	}
	settle := func(after time.Duration, retry bool, ids ...string) {
		t.Helper()
		var ss []driver.Settlement
		for _, id := range ids {
			ss = append(ss, driver.Settlement{ID: id, Retry: retry, After: after})
		}
		must(t, d.feed.Settle(ctx, ss))
	}
	add("a1", "a2", "b1", "a3", "c1", "a4")
	ids := expect(3, "a1", "a2", "b1")
	settle(0, false, ids["a1"], ids["b1"])
	settle(time.Minute, true, ids["a2"])
	ids = expect(10, "c1") // a3 and a4 are behind
	settle(0, false, ids["c1"])
	add("a5", "b2", "a6")
	ids = expect(10, "b2")
	b, err := d.feed.Receive(ctx, 10)
	must(t, err)
	if want := clock.Now().Add(time.Minute); len(b.Deliveries) != 0 || !b.Next.Equal(want) {
		t.Errorf("got %+v, want nothing before %v", b, want)
	}
	clock.Advance(time.Minute)
	ids2 := expect(3, "a2", "a3", "a4")
	add("a7", "b3")
	expect(10) // both streams are leased
	settle(0, false, ids["b2"])
	settle(0, false, ids2["a2"])
	settle(0, true, ids2["a3"], ids2["a4"])
	ids = expect(10, "a3", "a4", "a5", "a6", "a7", "b3")
	add("a8", "d1")
	settle(0, false, ids["a3"], ids["a4"], ids["a5"], ids["a6"], ids["a7"])
	ids2 = expect(10, "a8", "d1")
	settle(0, false, ids2["a8"], ids2["d1"], ids["b3"])
	expect(10)
}

// TestOrphanedFiring tests Delete of a schedule whose firing is leased: the caller may
// still settle or retry the firing.
func TestOrphanedFiring(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	d := openAll(t, &memory.Options{Now: clock.Now})
	ctx := t.Context()
	receive := func(want int) string {
		t.Helper()
		b, err := d.firings.Receive(ctx, 10)
		must(t, err)
		if len(b.Deliveries) != want {
			t.Fatalf("got %d firings, want %d", len(b.Deliveries), want)
		}
		if want == 0 {
			return ""
		}
		return b.Deliveries[0].ID
	}
	s := driver.Schedule{Name: "s", Expression: "rate(1 hour)"}
	must(t, d.schedules.Create(ctx, s))
	clock.Advance(time.Hour)
	held := receive(1)
	must(t, d.schedules.Delete(ctx, "s"))
	if list, err := d.schedules.List(ctx); err != nil || list != nil {
		t.Errorf("got %v, %v of a deleted schedule", list, err)
	}
	must(t, d.firings.Settle(ctx, []driver.Settlement{{ID: held, Retry: true}}))
	held = receive(1)
	must(t, d.firings.Settle(ctx, []driver.Settlement{{ID: held}}))
	clock.Advance(2 * time.Hour)
	receive(0) // it does not continue

	must(t, d.schedules.Create(ctx, s))
	clock.Advance(time.Hour)
	held = receive(1)
	must(t, d.schedules.Create(ctx, s)) // replaces it, with its firing
	must(t, d.firings.Settle(ctx, []driver.Settlement{{ID: held, Retry: true}}))
	receive(0)
	clock.Advance(time.Hour)
	held = receive(1)
	must(t, d.firings.Settle(ctx, []driver.Settlement{{ID: held, Retry: true, After: time.Minute}}))
	must(t, d.schedules.Delete(ctx, "s")) // it waits and is not leased
	clock.Advance(time.Hour)
	receive(0)
}

func ExampleNew() {
	p := memory.New(nil)
	defer p.Close()
	ctx := context.Background()
	log, err := p.OpenEventLog(ctx, "Catalog.Category")
	if err != nil {
		fmt.Println(err)
		return
	}
	c := driver.Commit{
		Stream: "books", SequenceNr: 1,
		Events:   []driver.Event{{Type: "Created", Version: 1, Data: json.RawMessage(`{"name":"Books"}`)}},
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "c1"}, EventCount: 1}},
	}
	fmt.Println(log.Append(ctx, c))
	fmt.Println(errors.Is(log.Append(ctx, c), driver.ErrConflict))
	for c, err := range log.Read(ctx, "books", 0, 0) {
		fmt.Println(c.SequenceNr, c.Events[0].Type, string(c.Events[0].Data), err)
	}
	// Output:
	// <nil>
	// true
	// 1 Created {"name":"Books"} <nil>
}

// A bucket that no task reads would otherwise collect a message for each change.
func TestChangesOfABucketWithoutAReceiverAreNotKept(t *testing.T) {
	t.Parallel()
	p := memory.New(nil)
	ctx := t.Context()
	b, err := p.OpenBucket(ctx, "files")
	for _, key := range []string{"a", "b", "a", "a"} {
		err = errors.Join(err, b.Put(ctx, key, strings.NewReader("x")))
	}
	if err = errors.Join(err, b.Delete(ctx, "b")); err != nil {
		t.Fatal(err)
	}
	r, err := p.OpenBucketReceiver(ctx, "files")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := r.Receive(ctx, 10)
	if err != nil || len(batch.Deliveries) != 1 || batch.Deliveries[0].Message.Key != "a" || batch.Deliveries[0].Message.Kind != driver.ObjectCreated {
		t.Errorf("the first receiver gets %+v, %v, want only the existing object", batch, err)
	}
}
