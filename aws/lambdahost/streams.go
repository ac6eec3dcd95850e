package lambdahost

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/handed"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
)

// change is what every record of a stream's event says of itself.
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
type change struct {
	DynamoDB struct {
		SequenceNumber              string
		ApproximateCreationDateTime float64 // seconds since 1970
	} `json:"dynamodb"`
}

// errNoSequence says that a record failed that cannot be named: the whole batch
// has failed then.
var errNoSequence = errors.New("a record without a sequence number failed")

// stream handles records of the stream of one table and returns the sequence
// numbers of those that failed. Lambda goes on at the lowest one: what is behind
// it comes again, and is known to be done.
func (h *handler) stream(ctx context.Context, m *measured, t wiring.Trigger, records []json.RawMessage) ([]string, error) {
	ids := make([]string, len(records))
	for i, r := range records {
		var c change
		_ = json.Unmarshal(r, &c) // what is no record is parked by who it is for
		ids[i] = c.DynamoDB.SequenceNumber
		m.message(time.UnixMilli(int64(c.DynamoDB.ApproximateCreationDateTime * 1000)))
	}
	failed := map[string]bool{}
	if t.Source == naming.Counts {
		h.counted(ctx, t.Component, records, failed)
	} else {
		h.recorded(ctx, t, records, failed)
	}
	if failed[""] {
		return nil, errNoSequence
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !failed[id] }), nil
}

// recorded hands the commits of a log to each consumer, or to the relay. They do
// not wait for one another, and one that fails is alone with it.
func (h *handler) recorded(ctx context.Context, t wiring.Trigger, records []json.RawMessage, failed map[string]bool) {
	var mu sync.Mutex
	feed := func(handle func(context.Context, []driver.Delivery[driver.Record]) ([]driver.Settlement, error)) {
		read := handed.New[driver.Record](h.now)
		for _, r := range records {
			record, id := eventcollector.DecodeStreamEvent(r, t.Component)
			read.Add(handed.Message[driver.Record]{ID: id, Group: record.Stream, Message: record})
		}
		work(ctx, h, read, manyRecords, streamPatience, handle)
		mu.Lock()
		defer mu.Unlock()
		for _, l := range read.Take() {
			failed[l.ID] = true
		}
	}
	if h.function.Role == wiring.Relay {
		feed(func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
			return h.host.HandleRelayed(ctx, t.Component, d)
		})
		return
	}
	var wg sync.WaitGroup
	for _, consumer := range t.Consumers {
		wg.Go(func() {
			feed(func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
				return h.host.HandleRecords(ctx, consumer, t.Component, d)
			})
		})
	}
	wg.Wait()
}

// counted tells what counters reached. A counter has its finishes in every record
// until it hears that they were told.
func (h *handler) counted(ctx context.Context, component string, records []json.RawMessage, failed map[string]bool) {
	type finishes = []driver.CounterFinished
	read := handed.New[finishes](h.now)
	for _, r := range records {
		finished, id, err := counter.DecodeStreamEvent(r)
		switch {
		case err != nil:
			if h.parkRaw(ctx, component, "raw/"+component+"/"+digest(string(r)), r, 1, err) != nil {
				failed[id] = true
			}
		case len(finished) > 0:
			read.Add(handed.Message[finishes]{ID: id, Group: finished[0].CounterID, Message: finished})
		}
	}
	work(ctx, h, read, manyRecords, streamPatience, func(ctx context.Context, deliveries []driver.Delivery[finishes]) ([]driver.Settlement, error) {
		settlements := make([]driver.Settlement, len(deliveries))
		retrying := map[string]bool{}
		for i, d := range deliveries {
			settlements[i] = driver.Settlement{ID: d.ID, Retry: true, After: backoff(d.Attempt)}
			if id := d.Message[0].CounterID; !retrying[id] {
				settlements[i].Retry = !h.tell(ctx, component, d)
				retrying[id] = settlements[i].Retry
			}
		}
		return settlements, nil
	})
	for _, l := range read.Take() {
		failed[l.ID] = true
	}
}

// tell tells all finishes of one counter, and the counter that they were told.
func (h *handler) tell(ctx context.Context, component string, d driver.Delivery[[]driver.CounterFinished]) bool {
	deliveries := make([]driver.Delivery[driver.CounterFinished], len(d.Message))
	for i, f := range d.Message {
		deliveries[i] = driver.Delivery[driver.CounterFinished]{ID: d.ID, Attempt: d.Attempt, Message: f}
	}
	settlements, err := h.host.HandleFinished(ctx, component, deliveries)
	if err != nil || slices.ContainsFunc(settlements, func(s driver.Settlement) bool { return s.Retry }) {
		return false
	}
	last := d.Message[len(d.Message)-1]
	if err := h.counters[component].Done(ctx, last.CounterID, last.Ordinal); err != nil {
		h.log.Warn("counter is tried again", "counter", component, "id", clip(last.CounterID), "error", clip(err.Error()))
		return false
	}
	return true
}
