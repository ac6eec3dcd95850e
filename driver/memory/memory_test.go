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

var table = driver.TableSpec{Name: "Test.Rows", Indexes: []driver.Index{{Name: "byKind", Key: driver.Field{Name: "kind"}}}}

// drivers are all drivers of one provider.
type drivers struct {
	provider    *memory.Provider
	log         driver.EventLog
	commands    driver.CommandTopic
	topic       driver.EventTopic
	subscriber  driver.Receiver[driver.Record]
	feed        driver.Receiver[driver.Record]
	checkpoints driver.Checkpoints
	db          driver.QueryDb
	engine      driver.QueryEngine
	states      driver.StateTopic
	counter     driver.Counter
	scheduler   driver.Scheduler
	bucket      driver.Bucket
	letters     driver.DeadLetters
	outcomes    driver.Outcomes
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
	var errs [14]error
	d.log, errs[0] = p.OpenEventLog(ctx, "Test.Log")
	d.commands, errs[1] = p.OpenCommandTopic(ctx, "Test.Log")
	d.topic, errs[2] = p.OpenEventTopic(ctx, driver.TopicSpec{Log: "Test.Log", Subscribers: []string{"Test.Consumer"}})
	d.subscriber, errs[3] = p.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log", Topic: true}})
	d.feed, errs[4] = p.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log"}})
	d.checkpoints, errs[5] = p.OpenCheckpoints(ctx, "Test.Consumer")
	d.db, errs[6] = p.OpenQueryDb(ctx, table)
	d.engine, errs[7] = p.OpenQueryEngine(ctx, []driver.TableSpec{table})
	d.states, errs[8] = p.OpenStateTopic(ctx, table)
	d.counter, errs[9] = p.OpenCounter(ctx, "Test.Counter")
	d.scheduler, errs[10] = p.OpenScheduler(ctx)
	d.bucket, errs[11] = p.OpenBucket(ctx, "Test.Files")
	d.letters, errs[12] = p.OpenDeadLetters(ctx)
	d.outcomes, errs[13] = p.OpenOutcomes(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return d
}

func commit(stream string, n uint64) driver.Commit {
	return driver.Commit{
		Stream: stream, SequenceNr: n,
		Events:   []driver.Event{{Type: "Done", Version: 1, Data: json.RawMessage(`{"a":1}`)}},
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprint(stream, n), Headers: map[string]string{"h": "1"}}, EventCount: 1}},
		Snapshot: &driver.Snapshot{FoldVersion: 1, State: json.RawMessage(`{"s":1}`), Recent: []driver.RecentCommand{{ID: "r"}}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// calls calls every method of every driver.
func (d *drivers) calls(ctx context.Context) map[string]func() error {
	first := func(seq func(func(driver.Commit, error) bool)) (err error) {
		seq(func(_ driver.Commit, e error) bool { err = e; return e == nil })
		return err
	}
	key := driver.Key{ID: "a"}
	row := driver.Row{Key: key, Data: json.RawMessage(`{}`)}
	stream := driver.StreamKey{Log: "Test.Log", Stream: "a"}
	one := []driver.Settlement{{ID: "1"}}
	calls := map[string]func() error{
		"EventLog.Append":      func() error { return d.log.Append(ctx, commit("x", 1)) },
		"EventLog.Read":        func() error { return first(d.log.Read(ctx, "a", 0)) },
		"EventLog.Load":        func() error { _, err := d.log.Load(ctx, "a", 1); return err },
		"EventLog.Scan":        func() error { return first(d.log.Scan(ctx, 0, 1)) },
		"CommandTopic.Send":    func() error { return d.commands.Send(ctx, nil) },
		"CommandTopic.Receive": func() error { _, err := d.commands.Receive(ctx, 1); return err },
		"CommandTopic.Settle":  func() error { return d.commands.Settle(ctx, one) },
		"EventTopic.Publish":   func() error { return d.topic.Publish(ctx, nil) },
		"subscriber.Receive":   func() error { _, err := d.subscriber.Receive(ctx, 1); return err },
		"subscriber.Settle":    func() error { return d.subscriber.Settle(ctx, one) },
		"feed.Receive":         func() error { _, err := d.feed.Receive(ctx, 1); return err },
		"feed.Settle":          func() error { return d.feed.Settle(ctx, one) },
		"QueryDb.Load":         func() error { _, err := d.db.Load(ctx, "a"); return err },
		"QueryDb.LoadRow":      func() error { _, err := d.db.LoadRow(ctx, key); return err },
		"QueryDb.LoadRows":     func() error { _, err := d.db.LoadRows(ctx, nil); return err },
		"QueryDb.Save":         func() error { return d.db.Save(ctx, row, driver.Any) },
		"QueryDb.SaveBatch":    func() error { return d.db.SaveBatch(ctx, nil) },
		"QueryDb.Count":        func() error { _, err := d.db.Count(ctx, key, "n", 1); return err },
		"QueryDb.Delete":       func() error { return d.db.Delete(ctx, key) },
		"QueryDb.DeleteAll":    func() error { return d.db.DeleteAll(ctx, "a") },
		"QueryDb.DeleteBatch":  func() error { return d.db.DeleteBatch(ctx, nil) },
		"QueryDb.Apply":        func() error { return d.db.Apply(ctx, driver.Step{}) },
		"QueryDb.Clear":        func() error { return d.db.Clear(ctx) },
		"QueryEngine.Query": func() error {
			_, err := d.engine.Query(ctx, driver.Query{ReadModel: table.Name, Value: "a"})
			return err
		},
		"QueryEngine.Scan":      func() error { _, err := d.engine.Scan(ctx, driver.Scan{ReadModel: table.Name}); return err },
		"StateTopic.Subscribe":  func() error { _, err := d.states.Subscribe(ctx); return err },
		"Counter.Count":         func() error { return d.counter.Count(ctx, "a", "r", 1) },
		"Counter.AddTarget":     func() error { return d.counter.AddTarget(ctx, "a", "r", 1) },
		"Counter.State":         func() error { _, err := d.counter.State(ctx, "a"); return err },
		"Counter.Receive":       func() error { _, err := d.counter.Receive(ctx, 1); return err },
		"Counter.Settle":        func() error { return d.counter.Settle(ctx, one) },
		"Scheduler.Create":      func() error { return d.scheduler.Create(ctx, driver.Schedule{Name: "s", Expression: "rate(1 hour)"}) },
		"Scheduler.Delete":      func() error { return d.scheduler.Delete(ctx, "s") },
		"Scheduler.List":        func() error { _, err := d.scheduler.List(ctx); return err },
		"Scheduler.Receive":     func() error { _, err := d.scheduler.Receive(ctx, 1); return err },
		"Scheduler.Settle":      func() error { return d.scheduler.Settle(ctx, one) },
		"Bucket.Put":            func() error { return d.bucket.Put(ctx, "k", strings.NewReader("")) },
		"Bucket.Get":            func() error { _, _, err := d.bucket.Get(ctx, "k"); return err },
		"Bucket.Delete":         func() error { return d.bucket.Delete(ctx, "k") },
		"Bucket.List":           func() error { _, err := d.bucket.List(ctx, "", "", 1); return err },
		"Bucket.Receive":        func() error { _, err := d.bucket.Receive(ctx, 1); return err },
		"Bucket.Settle":         func() error { return d.bucket.Settle(ctx, one) },
		"DeadLetters.Park":      func() error { return d.letters.Park(ctx, driver.DeadLetter{ID: "l", Component: "c"}) },
		"DeadLetters.Get":       func() error { _, err := d.letters.Get(ctx, "l"); return err },
		"DeadLetters.List":      func() error { _, err := d.letters.List(ctx, "", "", 1); return err },
		"DeadLetters.Remove":    func() error { return d.letters.Remove(ctx, "l") },
		"Outcomes.Put":          func() error { return d.outcomes.Put(ctx, driver.Outcome{CommandID: "c"}, time.Time{}) },
		"Outcomes.Get":          func() error { _, err := d.outcomes.Get(ctx, "c"); return err },
		"Provider.OpenEventLog": func() error { _, err := d.provider.OpenEventLog(ctx, "n"); return err },
		"Provider.OpenCollector": func() error {
			_, err := d.provider.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "n", Source: driver.Source{Log: "n"}})
			return err
		},
		"Provider.OpenQueryDb":     func() error { _, err := d.provider.OpenQueryDb(ctx, table); return err },
		"Provider.OpenQueryEngine": func() error { _, err := d.provider.OpenQueryEngine(ctx, nil); return err },
		"Provider.OpenScheduler":   func() error { _, err := d.provider.OpenScheduler(ctx); return err },
		"Provider.OpenDeadLetters": func() error { _, err := d.provider.OpenDeadLetters(ctx); return err },
		"Provider.OpenOutcomes":    func() error { _, err := d.provider.OpenOutcomes(ctx); return err },
	}
	for name, c := range map[string]driver.Checkpoints{"Checkpoints": d.checkpoints, "QueryDb": d.db} {
		calls[name+".Watermark"] = func() error { _, err := c.Watermark(ctx, stream); return err }
		calls[name+".Watermarks"] = func() error { _, err := c.Watermarks(ctx, nil); return err }
		calls[name+".Advance"] = func() error { return c.Advance(ctx, nil) }
		calls[name+".Block"] = func() error { return c.Block(ctx, stream, 0) }
		calls[name+".Unblock"] = func() error { return c.Unblock(ctx, stream) }
	}
	return calls
}

func TestAfterCloseNothingIsAvailable(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	must(t, d.provider.Close())
	for name, call := range d.calls(t.Context()) {
		if err := call(); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
	must(t, d.provider.Close())
}

func TestCancelledContextEndsEveryCall(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range d.calls(ctx) {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", name, err)
		}
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
	for _, err := range d.log.Read(ctx, "a", 0) {
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

func TestOpeningTwiceSharesTheData(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	ctx := t.Context()
	must(t, d.log.Append(ctx, commit("a", 1)))
	log, err := d.provider.OpenEventLog(ctx, "Test.Log")
	must(t, err)
	if got, err := log.Load(ctx, "a", 1); err != nil || len(got) != 1 {
		t.Errorf("got %d commits, %v, want 1", len(got), err)
	}
	feed, err := d.provider.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log"}})
	must(t, err)
	b, err := d.feed.Receive(ctx, 10)
	must(t, err)
	must(t, feed.Settle(ctx, []driver.Settlement{{ID: b.Deliveries[0].ID}}))
	if b, err := d.feed.Receive(ctx, 10); err != nil || len(b.Deliveries) != 0 || !b.Next.IsZero() {
		t.Errorf("got %+v, %v, want nothing", b, err)
	}
}

// TestCopiesAtTheBorder spoils all that went in and all that came out and looks
// whether the provider notices.
func TestCopiesAtTheBorder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	spoil := func(b []byte) {
		for i := range b {
			b[i] = 'X'
		}
	}
	spoilCommit := func(c driver.Commit) {
		spoil(c.Events[0].Data)
		c.Events[0].Type = "X"
		c.Commands[0].Meta.Headers["h"] = "X"
		c.Commands[0].EventCount = 99
		if c.Snapshot != nil {
			spoil(c.Snapshot.State)
			c.Snapshot.Recent[0].ID = "X"
			c.Snapshot.FoldVersion = 99
		}
	}
	spoilCommand := func(c driver.Command) {
		spoil(c.Data)
		c.Meta.Headers["h"] = "X"
	}
	retryAll := func(ids ...string) (ss []driver.Settlement) {
		for _, id := range ids {
			ss = append(ss, driver.Settlement{ID: id, Retry: true})
		}
		return ss
	}
	records := func(_ *drivers, c driver.Receiver[driver.Record]) func(*testing.T) any {
		return func(t *testing.T) any {
			b, err := c.Receive(ctx, 1)
			must(t, err)
			must(t, c.Settle(ctx, retryAll(b.Deliveries[0].ID)))
			return *b.Deliveries[0].Message.Commit
		}
	}
	for name, put := range map[string]func(t *testing.T, d *drivers) (get func(t *testing.T) any){
		"Read": func(t *testing.T, d *drivers) func(*testing.T) any {
			c := commit("a", 1)
			must(t, d.log.Append(ctx, c))
			spoilCommit(c)
			return func(t *testing.T) any {
				for c, err := range d.log.Read(ctx, "a", 0) {
					must(t, err)
					return c
				}
				return nil
			}
		},
		"Load": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.log.Append(ctx, commit("a", 1)))
			return func(t *testing.T) any {
				cs, err := d.log.Load(ctx, "a", 1)
				must(t, err)
				return cs[0]
			}
		},
		"Scan": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.log.Append(ctx, commit("a", 1)))
			return func(t *testing.T) any {
				for c, err := range d.log.Scan(ctx, 0, 1) {
					must(t, err)
					return c
				}
				return nil
			}
		},
		"Conflict": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.log.Append(ctx, commit("a", 1)))
			return func(t *testing.T) any {
				var conflict *driver.ConflictError
				if err := d.log.Append(ctx, commit("a", 1)); !errors.As(err, &conflict) {
					t.Fatal(err)
				}
				return conflict.Winner
			}
		},
		"feed": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.log.Append(ctx, commit("a", 1)))
			return records(d, d.feed)
		},
		"topic": func(t *testing.T, d *drivers) func(*testing.T) any {
			e := driver.Envelope{Log: "Test.Log", Commit: commit("a", 1)}
			must(t, d.topic.Publish(ctx, []driver.Envelope{e}))
			spoilCommit(e.Commit)
			return records(d, d.subscriber)
		},
		"commands": func(t *testing.T, d *drivers) func(*testing.T) any {
			c := driver.Command{Entity: "a", Data: json.RawMessage(`{"a":1}`), Meta: driver.Meta{ID: "1", Headers: map[string]string{"h": "1"}}}
			must(t, d.commands.Send(ctx, []driver.Command{c}))
			spoilCommand(c)
			return func(t *testing.T) any {
				b, err := d.commands.Receive(ctx, 1)
				must(t, err)
				must(t, d.commands.Settle(ctx, retryAll(b.Deliveries[0].ID)))
				return b.Deliveries[0].Message
			}
		},
		"rows": func(t *testing.T, d *drivers) func(*testing.T) any {
			row := driver.Row{Key: driver.Key{ID: "a"}, Data: json.RawMessage(`{"kind":"k"}`)}
			must(t, d.db.Save(ctx, row, driver.Init))
			spoil(row.Data)
			return func(t *testing.T) any {
				row, err := d.db.LoadRow(ctx, driver.Key{ID: "a"})
				must(t, err)
				return row
			}
		},
		"query": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.db.Save(ctx, driver.Row{Key: driver.Key{ID: "a"}, Data: json.RawMessage(`{"kind":"k"}`)}, driver.Init))
			return func(t *testing.T) any {
				page, err := d.engine.Query(ctx, driver.Query{ReadModel: table.Name, Index: "byKind", Value: "k"})
				must(t, err)
				return page.Rows[0]
			}
		},
		"schedules": func(t *testing.T, d *drivers) func(*testing.T) any {
			s := driver.Schedule{Name: "s", Expression: "rate(1 hour)", Payload: json.RawMessage(`{"a":1}`)}
			must(t, d.scheduler.Create(ctx, s))
			spoil(s.Payload)
			return func(t *testing.T) any {
				list, err := d.scheduler.List(ctx)
				must(t, err)
				return list[0]
			}
		},
		"firings": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.scheduler.Create(ctx, driver.Schedule{Name: "s", Expression: "at(2020-01-01T00:00:00)", Payload: json.RawMessage(`{"a":1}`)}))
			return func(t *testing.T) any {
				b, err := d.scheduler.Receive(ctx, 1)
				must(t, err)
				must(t, d.scheduler.Settle(ctx, retryAll(b.Deliveries[0].ID)))
				return b.Deliveries[0].Message
			}
		},
		"letters": func(t *testing.T, d *drivers) func(*testing.T) any {
			l := driver.DeadLetter{ID: "l", Component: "c", Body: []byte("body")}
			must(t, d.letters.Park(ctx, l))
			spoil(l.Body)
			return func(t *testing.T) any {
				l, err := d.letters.Get(ctx, "l")
				must(t, err)
				return l
			}
		},
		"letter list": func(t *testing.T, d *drivers) func(*testing.T) any {
			must(t, d.letters.Park(ctx, driver.DeadLetter{ID: "l", Component: "c", Body: []byte("body")}))
			return func(t *testing.T) any {
				ls, err := d.letters.List(ctx, "", "", 1)
				must(t, err)
				return ls[0]
			}
		},
		"outcomes": func(t *testing.T, d *drivers) func(*testing.T) any {
			o := driver.Outcome{CommandID: "c", Kind: driver.Rejected, Detail: json.RawMessage(`{"a":1}`)}
			must(t, d.outcomes.Put(ctx, o, time.Now().Add(time.Hour)))
			spoil(o.Detail)
			return func(t *testing.T) any {
				o, err := d.outcomes.Get(ctx, "c")
				must(t, err)
				return o
			}
		},
		"objects": func(t *testing.T, d *drivers) func(*testing.T) any {
			content := []byte("content")
			must(t, d.bucket.Put(ctx, "k", strings.NewReader(string(content))))
			return func(t *testing.T) any {
				r, _, err := d.bucket.Get(ctx, "k")
				must(t, err)
				b, err := io.ReadAll(r)
				must(t, err)
				must(t, r.Close())
				return json.RawMessage(b)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			get := put(t, openAll(t, nil))
			first := get(t)
			before := string(dump(first))
			if strings.Contains(before, "X") {
				t.Errorf("the argument was kept: %s", before)
			}
			switch v := first.(type) {
			case driver.Commit:
				spoilCommit(v)
			case driver.Command:
				spoilCommand(v)
			case driver.Row:
				spoil(v.Data)
			case driver.Schedule:
				spoil(v.Payload)
			case driver.Firing:
				spoil(v.Payload)
			case driver.DeadLetter:
				spoil(v.Body)
			case driver.Outcome:
				spoil(v.Detail)
			case json.RawMessage:
				spoil(v)
			default:
				t.Fatalf("nothing to spoil in %T", v)
			}
			if after := dump(get(t)); string(after) != before {
				t.Errorf("the result was not a copy: %s became %s", before, after)
			}
		})
	}
}

// dump is v with all that it points to.
func dump(v any) []byte {
	switch v := v.(type) {
	case json.RawMessage:
		return v
	case driver.Row: // Data need not be JSON any more
		return fmt.Appendf(nil, "%q %s", v.Key, v.Data)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("X: " + err.Error())
	}
	return b
}

func TestChangesAreCopiedPerSubscriber(t *testing.T) {
	t.Parallel()
	d := openAll(t, nil)
	ctx := t.Context()
	one, err := d.states.Subscribe(ctx)
	must(t, err)
	two, err := d.states.Subscribe(ctx)
	must(t, err)
	must(t, d.db.Save(ctx, driver.Row{Key: driver.Key{ID: "a"}, Data: json.RawMessage(`{"kind":"k"}`)}, driver.Any))
	for _, seq := range []func(func(driver.StateChange, error) bool){one, two} {
		for c, err := range seq {
			must(t, err)
			if string(c.Row) != `{"kind":"k"}` {
				t.Errorf("got %s", c.Row)
			}
			clear(c.Row)
			break
		}
	}
	if row, err := d.db.LoadRow(ctx, driver.Key{ID: "a"}); err != nil || string(row.Data) != `{"kind":"k"}` {
		t.Errorf("got %s, %v", row.Data, err)
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

func TestNotify(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	d := openAll(t, &memory.Options{Now: clock.Now})
	ctx := t.Context()
	var told []string
	stop := d.provider.Notify(func(receiver string) {
		told = append(told, receiver)
		// Nothing of the provider is locked meanwhile.
		if _, err := d.provider.OpenEventLog(ctx, "Test.Log"); err != nil {
			t.Errorf("open in a listener: %v", err)
		}
		if _, err := d.commands.Receive(ctx, 1); err != nil {
			t.Errorf("receive in a listener: %v", err)
		}
	})
	step := func(name string, call func() error, want ...string) {
		t.Helper()
		told = nil
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(told, want) {
			t.Errorf("%s: told %q, want %q", name, told, want)
		}
	}
	settleFirst := func(retry bool, receive func() (string, error), settle func(context.Context, []driver.Settlement) error) func() error {
		return func() error {
			id, err := receive()
			if err != nil {
				return err
			}
			return settle(ctx, []driver.Settlement{{ID: id, Retry: retry}})
		}
	}
	fromFeed := func() (string, error) { b, err := d.feed.Receive(ctx, 1); return b.Deliveries[0].ID, err }
	fromScheduler := func() (string, error) { b, err := d.scheduler.Receive(ctx, 1); return b.Deliveries[0].ID, err }
	fromBucket := func() (string, error) { b, err := d.bucket.Receive(ctx, 1); return b.Deliveries[0].ID, err }

	step("append", func() error { return d.log.Append(ctx, commit("a", 1)) }, "EventCollector/Test.Log")
	step("append another", func() error { return d.log.Append(ctx, commit("a", 2)) }, "EventCollector/Test.Log")
	step("retry a record", settleFirst(true, fromFeed, d.feed.Settle), "EventCollector/Test.Log")
	step("settle it", settleFirst(false, fromFeed, d.feed.Settle))
	step("settle the last", settleFirst(false, fromFeed, d.feed.Settle))
	step("publish", func() error {
		return d.topic.Publish(ctx, []driver.Envelope{{Log: "Test.Log", Commit: commit("a", 1)}})
	}, "EventCollector/Test.Log")
	step("send", func() error {
		return d.commands.Send(ctx, []driver.Command{{Entity: "a", Meta: driver.Meta{ID: "1"}}})
	}, "CommandTopic/Test.Log")
	step("send again", func() error {
		return d.commands.Send(ctx, []driver.Command{{Entity: "a", Meta: driver.Meta{ID: "1"}}})
	})
	step("count", func() error { return d.counter.Count(ctx, "c", "r", 2) })
	step("reach the target", func() error { return d.counter.AddTarget(ctx, "c", "r", 2) }, "Counter/Test.Counter")
	step("schedule", func() error {
		return d.scheduler.Create(ctx, driver.Schedule{Name: "s", Expression: "at(2020-01-01T00:00:00)"})
	}, "Scheduler/")
	step("retry a firing", settleFirst(true, fromScheduler, d.scheduler.Settle), "Scheduler/")
	step("settle a firing", settleFirst(false, fromScheduler, d.scheduler.Settle))
	step("put", func() error { return d.bucket.Put(ctx, "k", strings.NewReader("x")) }, "Bucket/Test.Files")
	step("delete", func() error { return d.bucket.Delete(ctx, "k") }, "Bucket/Test.Files")
	step("delete again", func() error { return d.bucket.Delete(ctx, "k") })
	step("settle an event before another", settleFirst(false, fromBucket, d.bucket.Settle), "Bucket/Test.Files")
	stop()
	step("put when stopped", func() error { return d.bucket.Put(ctx, "k", strings.NewReader("x")) })
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

func TestFeedGoesOnBehindAStreamThatWaits(t *testing.T) {
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
	expect(10) // both streams are held
	settle(0, false, ids["b2"])
	settle(0, false, ids2["a2"])
	settle(0, true, ids2["a3"], ids2["a4"])
	ids = expect(10, "b3", "a3", "a4", "a5", "a6", "a7")
	add("a8", "d1")
	settle(0, false, ids["a3"], ids["a4"], ids["a5"], ids["a6"], ids["a7"])
	ids2 = expect(10, "a8", "d1")
	settle(0, false, ids2["a8"], ids2["d1"], ids["b3"])
	expect(10)
}

// TestOrphanedFiring holds to the letter of Delete: a firing that is held stays
// with its holder, also when it comes again.
func TestOrphanedFiring(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	d := openAll(t, &memory.Options{Now: clock.Now})
	ctx := t.Context()
	receive := func(want int) string {
		t.Helper()
		b, err := d.scheduler.Receive(ctx, 10)
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
	must(t, d.scheduler.Create(ctx, s))
	clock.Advance(time.Hour)
	held := receive(1)
	must(t, d.scheduler.Delete(ctx, "s"))
	if list, err := d.scheduler.List(ctx); err != nil || list != nil {
		t.Errorf("got %v, %v of a deleted schedule", list, err)
	}
	must(t, d.scheduler.Settle(ctx, []driver.Settlement{{ID: held, Retry: true}}))
	held = receive(1)
	must(t, d.scheduler.Settle(ctx, []driver.Settlement{{ID: held}}))
	clock.Advance(2 * time.Hour)
	receive(0) // it does not go on

	must(t, d.scheduler.Create(ctx, s))
	clock.Advance(time.Hour)
	held = receive(1)
	must(t, d.scheduler.Create(ctx, s)) // replaces it, with its firing
	must(t, d.scheduler.Settle(ctx, []driver.Settlement{{ID: held, Retry: true}}))
	receive(0)
	clock.Advance(time.Hour)
	held = receive(1)
	must(t, d.scheduler.Settle(ctx, []driver.Settlement{{ID: held, Retry: true, After: time.Minute}}))
	must(t, d.scheduler.Delete(ctx, "s")) // it waits and is not held
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
	for c, err := range log.Read(ctx, "books", 0) {
		fmt.Println(c.SequenceNr, c.Events[0].Type, string(c.Events[0].Data), err)
	}
	// Output:
	// <nil>
	// true
	// 1 Created {"name":"Books"} <nil>
}
