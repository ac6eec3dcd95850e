package host_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/readmodel"
)

// scripted is a provider whose collector of Shop.Sums delivers given batches and records
// how they are settled, even after the context has ended.
type scripted struct {
	driver.PullProvider

	mu      sync.Mutex
	batches [][]driver.Delivery[driver.Record]
	settled []map[string]bool // of each batch, by delivery: whether it is retried
}

func (s *scripted) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.Receiver[driver.Record], error) {
	if spec.Consumer != "Shop.Sums" {
		return s.PullProvider.OpenEventCollector(ctx, spec)
	}
	return s, nil
}

func (s *scripted) Receive(context.Context, int) (driver.Batch[driver.Record], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b driver.Batch[driver.Record]
	if len(s.batches) > 0 {
		b.Deliveries, s.batches = s.batches[0], s.batches[1:]
	}
	return b, nil
}

func (s *scripted) Settle(_ context.Context, settlements []driver.Settlement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = append(s.settled, retried(settlements, nil))
	return nil
}

func record(stream string, sequenceNr uint64) driver.Delivery[driver.Record] {
	return driver.Delivery[driver.Record]{
		ID: fmt.Sprint(stream, sequenceNr), Attempt: 1,
		Message: driver.Record{Log: "Shop.Jar", Stream: stream, SequenceNr: sequenceNr},
	}
}

// An ordered transport redelivers a group from the first retried message on. If a later
// message of the group were settled, it would be handled out of order.
func TestNoMessageIsSettledAfterARetriedOneOfItsGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		jar := newJar()
		raw := driver.Delivery[driver.Record]{ID: "raw", Attempt: 1, Message: driver.Record{Stream: "a", Raw: []byte("?"), Err: errors.New("torn")}}
		nameless := driver.Delivery[driver.Record]{ID: "nameless", Attempt: 1, Message: driver.Record{Raw: []byte("!"), Err: errors.New("torn")}}
		// The second commit of a fails once. Behind it are the first one again, as after a
		// lost settlement, and a record that cannot be decoded.
		batch := []driver.Delivery[driver.Record]{record("a", 2), record("a", 1), raw, nameless, record("b", 1)}
		inner := memory.New(nil)
		broken := faults.New(inner, nil)
		provider := &scripted{PullProvider: struct{ driver.PullProvider }{broken}, batches: [][]driver.Delivery[driver.Record]{{record("a", 1)}, batch, batch}}
		broken.Inject(faults.Rule{Op: "QueryDb.Apply", Key: "a", Skip: 1, Err: driver.ErrThrottled})
		h := open(t, app(jar, sums(jar, func(s *readmodel.Spec[SumRow]) { s.OwnRow = true })), provider, nil)
		for i, id := range []string{"a", "a", "b"} {
			if _, err := h.SendAction(t.Context(), fmt.Sprint(i), driver.Meta{}, jar.To(id, Put{N: 1}).Erased()); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the time of the bubble
		synctest.Wait()
		wantEqual(t, "settled", provider.settled, []map[string]bool{
			{"a1": false},
			{"a2": true, "a1": true, "raw": true, "nameless": false, "b1": false},
			{"a2": false, "a1": false, "raw": false, "nameless": false, "b1": false},
		})
	})
}

// A stream that is far behind is applied in several steps. If the host is closed between
// two of them, the record is not settled.
func TestRecordIsNotSettledWhenTheHostIsClosedBeforeItsCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const commits = 1500
		jar := newJar()
		inner := memory.New(nil)
		broken := faults.New(inner, nil)
		provider := &scripted{PullProvider: struct{ driver.PullProvider }{broken}, batches: [][]driver.Delivery[driver.Record]{{record("a", commits)}}}
		h := open(t, app(jar, sums(jar)), provider, nil)
		log, _ := h.EventLog("Shop.Jar")
		for i := range uint64(commits) {
			if err := log.Append(t.Context(), driver.Commit{
				Stream: "a", SequenceNr: i + 1, Events: []driver.Event{{Type: "Added", Version: 1, Data: []byte(`{"n":1}`)}},
				Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprint(i)}, EventCount: 1}},
			}); err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan error, 1)
		broken.Inject(faults.Rule{Op: "QueryDb.Apply", After: true, Do: func() {
			go func() { closed <- h.Close() }()
			synctest.Wait() // Close waits for the worker, whose context has ended
		}})
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		db, _ := h.QueryDb("Shop.Sums")
		w, err := db.Watermark(t.Context(), driver.StreamKey{Log: "Shop.Jar", Stream: "a"})
		if err != nil || w.SequenceNr == 0 || w.SequenceNr >= commits {
			t.Errorf("got the watermark %+v, %v, want it between the first and the last commit", w, err)
		}
		for _, got := range provider.settled {
			wantEqual(t, "settled", got, map[string]bool{fmt.Sprint("a", commits): true})
		}
		wantEqual(t, "batches", len(provider.settled), 1)
	})
}
