package lambdahost

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/inflight"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
)

// errNoSequence fails the whole batch because the answer cannot name the failed record.
var errNoSequence = errors.New("a record without a sequence number failed")

// stream handles records of the stream of a table and returns the sequence numbers of the
// failed ones. Lambda continues at the lowest one and redelivers the later records, which
// are recognized if they are done.
func (h *handler) stream(ctx context.Context, m *measured, t wiring.Trigger, records []record) ([]string, error) {
	changes := make([]streams.Change, len(records))
	for i, r := range records {
		changes[i] = r.Change(r.text, r.err)
		m.message(changes[i].At)
	}
	var failed map[string]bool
	if t.Source == naming.Counts {
		failed = h.counted(ctx, t.Component, changes)
	} else {
		failed = h.recorded(ctx, t, changes)
	}
	if failed[""] {
		return nil, errNoSequence
	}
	var ids []string
	for _, c := range changes {
		if failed[c.Sequence] {
			ids = append(ids, c.Sequence)
		}
	}
	return ids, nil
}

// recorded passes the commits of a log to all consumers, or to the relay, and returns the
// failed ones. Consumers do not wait for each other.
func (h *handler) recorded(ctx context.Context, t wiring.Trigger, changes []streams.Change) map[string]bool {
	messages := make([]inflight.Message[driver.Record], len(changes))
	for i, c := range changes {
		r := eventcollector.DecodeStream(c, t.Component)
		messages[i] = inflight.Message[driver.Record]{ID: c.Sequence, Group: r.Stream, Message: r}
	}
	var mu sync.Mutex
	failed := map[string]bool{}
	feed := func(handle func(context.Context, []driver.Delivery[driver.Record]) ([]driver.Settlement, error)) {
		queued := inflight.New[driver.Record](h.now)
		queued.Add(messages...)
		work(ctx, h, queued, manyRecords, streamPatience, handle)
		mu.Lock()
		defer mu.Unlock()
		for _, l := range queued.Take() {
			failed[l.ID] = true
		}
	}
	if h.function.Role == wiring.Relay {
		feed(func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
			return h.engine.HandleRelayed(ctx, t.Component, d)
		})
		return failed
	}
	var wg sync.WaitGroup
	for _, consumer := range t.Consumers {
		wg.Go(func() {
			feed(func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
				return h.engine.HandleRecords(ctx, consumer, t.Component, d)
			})
		})
	}
	wg.Wait()
	return failed
}

// counted handles the finishes of counters and returns the failed records. Every record of
// a counter has the finishes that are not marked as handled.
func (h *handler) counted(ctx context.Context, component string, changes []streams.Change) map[string]bool {
	failed := map[string]bool{}
	queued := inflight.New[string](h.now)
	for _, c := range changes {
		id, err := counter.DecodeStream(c)
		switch {
		case err != nil:
			if !h.parkRaw(ctx, component, c.Raw(), 1, err) {
				failed[c.Sequence] = true
			}
		case id != "":
			queued.Add(inflight.Message[string]{ID: c.Sequence, Group: id, Message: id})
		}
	}
	work(ctx, h, queued, manyRecords, streamPatience, func(ctx context.Context, deliveries []driver.Delivery[string]) ([]driver.Settlement, error) {
		settlements := make([]driver.Settlement, len(deliveries))
		retrying := map[string]bool{}
		for i, d := range deliveries {
			id := d.Message
			settlements[i] = driver.Settlement{ID: d.ID, Retry: true}
			if retrying[id] {
				continue
			}
			again, after, err := h.finish(ctx, component, d)
			if err != nil {
				again, after = true, backoff(d.Attempt)
				h.log.Warn("retry of a counter", "counter", component, "id", clip(id), "error", clip(err.Error()))
			}
			retrying[id], settlements[i].Retry, settlements[i].After = again, again, after
		}
		return settlements, nil
	})
	for _, l := range queued.Take() {
		failed[l.ID] = true
	}
	return failed
}

// finish handles the current finishes of a counter in order and marks them as handled. It
// returns whether one has to be retried, and the delay.
func (h *handler) finish(ctx context.Context, component string, d driver.Delivery[string]) (again bool, after time.Duration, err error) {
	finished, err := h.counters[component].Pending(ctx, d.Message)
	if err != nil || len(finished) == 0 {
		return false, 0, err
	}
	deliveries := make([]driver.Delivery[driver.CounterFinished], len(finished))
	for i, f := range finished {
		deliveries[i] = driver.Delivery[driver.CounterFinished]{ID: d.ID + "." + strconv.FormatUint(f.Ordinal, 10), Attempt: d.Attempt, Message: f}
	}
	settlements, err := h.engine.HandleFinished(ctx, component, deliveries)
	if err != nil {
		return false, 0, err
	}
	ends := map[string]driver.Settlement{}
	for _, s := range settlements {
		ends[s.ID] = s
	}
	done := 0
	for ; done < len(deliveries); done++ {
		if s, ok := ends[deliveries[done].ID]; !ok || s.Retry {
			again, after = true, s.After
			break
		}
	}
	if done > 0 {
		err = h.counters[component].Done(ctx, d.Message, finished[done-1].Ordinal)
	}
	return again, after, err
}
