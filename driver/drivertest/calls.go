package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// call is one call of one method of a driver.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// cancelledCallsFail is the property that every call with a cancelled context returns
// the context's error, and never an empty or partial result without an error.
func cancelledCallsFail(calls func(e *env) []call) property {
	return property{"CancelledCallsFail", func(e *env) {
		cs := calls(e)
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		for _, c := range cs {
			if err := c.do(ctx); !errors.Is(err, context.Canceled) {
				e.Errorf("%s with a cancelled context = %v, want context.Canceled", c.name, err)
			}
		}
	}}
}

// errorOf returns the error of a call and drops its result.
func errorOf[T any](_ T, err error) error { return err }

// receiverCalls returns the calls of a receiver.
func receiverCalls[T any](name string, r driver.Receiver[T]) []call {
	return []call{
		{name + ".Receive", func(ctx context.Context) error { return errorOf(r.Receive(ctx, 1)) }},
		{name + ".Settle", func(ctx context.Context) error { return r.Settle(ctx, []driver.Settlement{{ID: "x"}}) }},
	}
}

func eventLogCalls(e *env) []call {
	l := e.eventLog("Test.Log")
	e.fill(l, "s", 1, 1)
	cs := []call{
		{"EventLog.Append", func(ctx context.Context) error { return l.Append(ctx, commitOf("s", 2, "w")) }},
		{"EventLog.Scan", func(ctx context.Context) error { return errorOf(collect(e, l.Scan(ctx, 0, 1))) }},
	}
	for name, stream := range map[string]string{"a stream": "s", "an empty stream": "nobody"} {
		cs = append(cs,
			call{"EventLog.Read of " + name, func(ctx context.Context) error { return errorOf(collect(e, l.Read(ctx, stream, 0, 0))) }},
			call{"EventLog.Load of " + name, func(ctx context.Context) error { return errorOf(l.Load(ctx, stream, ofVersion(1))) }})
	}
	return cs
}

func commandTopicCalls(e *env) []call {
	t := e.commandTopic("Test.Thing")
	return append(receiverCalls("CommandTopic", t.Receiver),
		call{"CommandTopic.Send", func(ctx context.Context) error { return t.Send(ctx, []driver.Command{command("e", "c")}) }})
}

func eventTopicCalls(e *env) []call {
	t := e.eventTopic("Test.Log", "Test.Consumer")
	return append(receiverCalls("EventTopic", e.collector("Test.Consumer", "Test.Log", true)),
		call{"EventTopic.Publish", func(ctx context.Context) error {
			return t.Publish(ctx, []driver.Envelope{envelope("Test.Log", commitOf("s", 1, "fill"))})
		}})
}

func eventCollectorCalls(e *env) []call {
	c := e.collector("Test.Consumer", "Test.Log", false)
	cs := receiverCalls("EventCollector", c)
	if l, ok := c.(driver.Lagger); ok {
		cs = append(cs, call{"EventCollector.Lag", func(ctx context.Context) error { return errorOf(l.Lag(ctx)) }})
	}
	return cs
}

func watermarksCalls(name string, w driver.Watermarks) []call {
	return []call{
		{name + ".Watermark", func(ctx context.Context) error { return errorOf(w.Watermark(ctx, streamKey("s"))) }},
		{name + ".Watermarks", func(ctx context.Context) error { return errorOf(w.Watermarks(ctx, []driver.StreamKey{streamKey("s")})) }},
		{name + ".Advance", func(ctx context.Context) error { return w.Advance(ctx, []driver.Advance{advance("s", 0, 1)}) }},
		{name + ".Block", func(ctx context.Context) error { return w.Block(ctx, streamKey("s"), 0) }},
		{name + ".Unblock", func(ctx context.Context) error { return w.Unblock(ctx, streamKey("s")) }},
	}
}

func consumerCalls(e *env) []call {
	return watermarksCalls("Watermarks", e.watermarks("Test.Consumer"))
}

func queryDbCalls(e *env) []call {
	db, key := e.table(plainTable), driver.Key{ID: "id"}
	e.save(db, numbered("id", 1))
	return append(watermarksCalls("QueryDb", db),
		call{"QueryDb.Load", func(ctx context.Context) error { return errorOf(db.Load(ctx, "id")) }},
		call{"QueryDb.LoadRow", func(ctx context.Context) error { return errorOf(db.LoadRow(ctx, key)) }},
		call{"QueryDb.LoadRows", func(ctx context.Context) error { return errorOf(db.LoadRows(ctx, []driver.Key{key})) }},
		call{"QueryDb.Apply", func(ctx context.Context) error {
			return db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{put(numbered("id", 1))}})
		}},
		call{"QueryDb.Clear", db.Clear})
}

func queryEngineCalls(e *env) []call {
	db, q := e.table(goods), e.engine(goods)
	e.save(db, lineData("id", "1", `,"shop":"s","price":1`))
	var cs []call
	for _, query := range []driver.Query{
		{ReadModel: goods.Name, Value: "id"}, {ReadModel: goods.Name, Value: "nobody"}, {ReadModel: goods.Name, Index: "byShop", Value: "s"},
	} {
		cs = append(cs, call{describe(query), func(ctx context.Context) error { return errorOf(q.Query(ctx, query)) }})
	}
	for _, scan := range []driver.Scan{{ReadModel: goods.Name}, {ReadModel: goods.Name, Order: &driver.Order{Field: "price"}}} {
		cs = append(cs, call{describe(scan), func(ctx context.Context) error { return errorOf(q.Scan(ctx, scan)) }})
	}
	return cs
}

func stateTopicCalls(e *env) []call {
	t, err := e.Provider.OpenStateTopic(e.ctx, plainTable)
	e.must(err, "OpenStateTopic")
	return []call{{"StateTopic.Subscribe", func(ctx context.Context) error { return errorOf(t.Subscribe(ctx)) }}}
}

func counterCalls(e *env) []call {
	c := e.counter("Test.Counter")
	return append(receiverCalls("Counter", c.Receiver),
		call{"Counter.Count", func(ctx context.Context) error { return c.Count(ctx, "a", "r", 1) }},
		call{"Counter.AddTarget", func(ctx context.Context) error { return c.AddTarget(ctx, "a", "r", 1) }},
		call{"Counter.State", func(ctx context.Context) error { return errorOf(c.State(ctx, "a")) }})
}

func schedulerCalls(e *env) []call {
	s := e.scheduler()
	return append(receiverCalls("Scheduler", s.Receiver),
		call{"Scheduler.Create", func(ctx context.Context) error {
			return s.Create(ctx, driver.Schedule{Name: "a", Expression: "rate(1 day)", Payload: json.RawMessage(`{}`)})
		}},
		call{"Scheduler.Delete", func(ctx context.Context) error { return s.Delete(ctx, "a") }},
		call{"Scheduler.List", func(ctx context.Context) error { return errorOf(s.List(ctx)) }})
}

func bucketCalls(e *env) []call {
	b := e.bucket("Test.Files")
	e.putObject(b, "a", "a")
	return append(receiverCalls("Bucket", b.Receiver),
		call{"Bucket.Put", func(ctx context.Context) error { return b.Put(ctx, "a", strings.NewReader("a")) }},
		call{"Bucket.Get", func(ctx context.Context) error {
			r, _, err := b.Get(ctx, "a")
			if err == nil {
				_ = r.Close()
			}
			return err
		}},
		call{"Bucket.Delete", func(ctx context.Context) error { return b.Delete(ctx, "a") }},
		call{"Bucket.List", func(ctx context.Context) error { return errorOf(b.List(ctx, "", "", 1)) }})
}

func deadLettersCalls(e *env) []call {
	d := e.deadLetters()
	e.park(d, letterOf("a", "Test.A"))
	return []call{
		{"DeadLetters.Park", func(ctx context.Context) error { return d.Park(ctx, letterOf("a", "Test.A")) }},
		{"DeadLetters.Get", func(ctx context.Context) error { return errorOf(d.Get(ctx, "a")) }},
		{"DeadLetters.List", func(ctx context.Context) error { return errorOf(d.List(ctx, "", "", 1)) }},
		{"DeadLetters.Remove", func(ctx context.Context) error { return d.Remove(ctx, "a") }},
	}
}

func outcomesCalls(e *env) []call {
	o := e.outcomes()
	e.putOutcome(o, accepted("a", 1), time.Hour)
	return []call{
		{"Outcomes.Put", func(ctx context.Context) error { return o.Put(ctx, accepted("a", 1), e.Now().Add(time.Hour)) }},
		{"Outcomes.Get", func(ctx context.Context) error { return errorOf(o.Get(ctx, "P.Thing", "a")) }},
	}
}

// everyCall returns the calls of all drivers of a provider.
func everyCall(e *env) (all []call) {
	for _, calls := range []func(*env) []call{
		eventLogCalls, commandTopicCalls, eventTopicCalls, eventCollectorCalls, consumerCalls, queryDbCalls, queryEngineCalls,
		stateTopicCalls, counterCalls, schedulerCalls, bucketCalls, deadLettersCalls, outcomesCalls,
	} {
		all = append(all, calls(e)...)
	}
	return all
}
