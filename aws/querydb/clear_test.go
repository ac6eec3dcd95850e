package querydb_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/querydb"
	"github.com/reventless-go/reventless/driver"
)

// before calls f before each request of an operation, with its number from 1. What f
// does itself is not counted.
type before struct {
	operation string
	n         atomic.Int64
	f         func(n int64)
}

func (b *before) RoundTrip(r *http.Request) (*http.Response, error) {
	if awstest.Operation(r) == b.operation {
		b.f(b.n.Add(1))
	}
	return awstest.Transport().RoundTrip(r)
}

// clearing has two stores of one read model; clears calls f as [before] does.
type clearing struct {
	*querydb.Db
	clears *querydb.Db
	store  *awstest.ReadModels
}

func newClearing(t *testing.T, operation string, f func(c clearing, n int64)) clearing {
	t.Helper()
	c := clearing{store: awstest.NewReadModels(t)}
	c.Db = c.open(t, nil)
	c.clears = c.open(t, &before{operation: operation, f: func(n int64) { f(c, n) }})
	return c
}

func (c clearing) open(t *testing.T, through http.RoundTripper) *querydb.Db {
	t.Helper()
	return c.store.Db(t, through, shared, nil)
}

// commit applies the next commit of a stream, which adds 1 to the row "sum".
func (c clearing) commit(ctx context.Context, name string) error {
	mark, err := c.Watermark(ctx, stream(name))
	if err != nil {
		return err
	}
	r, err := c.LoadRow(ctx, driver.Key{ID: "sum"})
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	sum := 0
	if err == nil {
		_, err = fmt.Sscanf(string(r.Data), `{"n":%d}`, &sum)
	} else {
		err = nil
	}
	if err != nil {
		return err
	}
	return c.Apply(ctx, driver.Step{
		Advances: []driver.Advance{advance(name, mark.SequenceNr)},
		Writes:   []driver.RowWrite{{Row: row("sum", sum+1), Guard: true, Expect: r.Revision}},
	})
}

// want checks the sum, 0 for no row, and the watermarks of the streams a and b.
func (c clearing) want(t *testing.T, sum int, a, b driver.Watermark) {
	t.Helper()
	r, err := c.LoadRow(t.Context(), driver.Key{ID: "sum"})
	if (sum == 0) != errors.Is(err, driver.ErrNotFound) || sum > 0 && string(r.Data) != fmt.Sprintf(`{"n":%d}`, sum) {
		t.Errorf("the sum is %s, %v, want %d", r.Data, err, sum)
	}
	for name, want := range map[string]driver.Watermark{"a": a, "b": b} {
		if mark, err := c.Watermark(t.Context(), stream(name)); err != nil || mark != want {
			t.Errorf("the watermark of %s is %+v, %v, want %+v", name, mark, err, want)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// Between the requests of a Clear, a stream continues, another one begins, and a parked
// one is redriven.
func TestStepsBetweenThoseOfAClear(t *testing.T) {
	t.Parallel()
	c := newClearing(t, "DynamoDB.BatchWriteItem", func(c clearing, n int64) {
		if n > 1 {
			return
		}
		// Clear has found the rows and has deleted none.
		if err := c.commit(t.Context(), "a"); !errors.Is(err, driver.ErrConflict) {
			t.Errorf("a step: %v, want a conflict", err)
		}
		if err := c.Advance(t.Context(), []driver.Advance{advance("a", 2)}); !errors.Is(err, driver.ErrConflict) {
			t.Errorf("Advance: %v, want a conflict", err)
		}
		if err := c.Unblock(t.Context(), stream("a")); !errors.Is(err, driver.ErrConflict) {
			t.Errorf("Unblock: %v, want a conflict", err)
		}
		must(t, c.Block(t.Context(), stream("a"), 2), c.commit(t.Context(), "b"))
		c.want(t, 3, driver.Watermark{SequenceNr: 2, Blocked: true}, driver.Watermark{SequenceNr: 1})
	})
	must(t, c.commit(t.Context(), "a"), c.commit(t.Context(), "a"), c.Block(t.Context(), stream("a"), 2))
	must(t, c.clears.Clear(t.Context()))
	c.want(t, 0, driver.Watermark{}, driver.Watermark{})
	must(t, c.Unblock(t.Context(), stream("a")), c.commit(t.Context(), "a"))
	c.want(t, 1, driver.Watermark{SequenceNr: 1}, driver.Watermark{})
}

// Clear must not delete a watermark that it locked, that another Clear deleted, and that
// was written and parked again at the same commit.
func TestTwoClearsAndAStreamThatIsParkedAgain(t *testing.T) {
	t.Parallel()
	c := newClearing(t, "DynamoDB.DeleteItem", func(c clearing, n int64) {
		must(t, c.Clear(t.Context()), c.commit(t.Context(), "a"), c.Block(t.Context(), stream("a"), 1), c.commit(t.Context(), "b"))
	})
	must(t, c.commit(t.Context(), "a"), c.Block(t.Context(), stream("a"), 1))
	must(t, c.clears.Clear(t.Context()))
	c.want(t, 2, driver.Watermark{SequenceNr: 1, Blocked: true}, driver.Watermark{SequenceNr: 1})
}

// A stream that an interrupted Clear locked was not locked while this one deleted rows.
func TestClearBesideAnInterruptedClear(t *testing.T) {
	t.Parallel()
	var once sync.Once
	c := newClearing(t, "DynamoDB.Scan", func(c clearing, n int64) {
		if n > 16 { // the watermarks and the rows have been looked for once
			once.Do(func() {
				must(t, c.commit(t.Context(), "b"))
				broken, cancel := context.WithCancel(t.Context())
				defer cancel()
				err := c.open(t, &before{operation: "DynamoDB.BatchWriteItem", f: func(int64) { cancel() }}).Clear(broken)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the other Clear: %v, want that it was cancelled", err)
				}
				c.want(t, 1, driver.Watermark{SequenceNr: 1, Blocked: true}, driver.Watermark{SequenceNr: 1, Blocked: true})
			})
		}
	})
	must(t, c.commit(t.Context(), "a"))
	must(t, c.clears.Clear(t.Context()))
	c.want(t, 0, driver.Watermark{}, driver.Watermark{})
}

// A Clear that cannot finish returns an error.
func TestClearBesideStreamsThatKeepBeginning(t *testing.T) {
	t.Parallel()
	c := newClearing(t, "DynamoDB.Scan", func(c clearing, n int64) {
		if n%8 == 1 { // once for each time that a table is read
			must(t, c.Advance(t.Context(), []driver.Advance{advance(fmt.Sprint("s", n), 0)}))
		}
	})
	must(t, c.commit(t.Context(), "a"))
	if err := c.clears.Clear(t.Context()); !errors.Is(err, driver.ErrThrottled) {
		t.Errorf("Clear: %v, want throttled", err)
	}
	if mark, err := c.Watermark(t.Context(), stream("a")); err != nil || !mark.Blocked {
		t.Errorf("the watermark is %+v, %v, want it blocked", mark, err)
	}
	must(t, c.Clear(t.Context()))
	c.want(t, 0, driver.Watermark{}, driver.Watermark{})
}

// Streams that an interrupted Clear locked stay blocked, and the next Clear finishes
// without locking them again.
func TestTheNextClearFinishesAnInterruptedOne(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"DynamoDB.BatchWriteItem", "DynamoDB.DeleteItem"} {
		var stop context.CancelFunc
		c := newClearing(t, operation, func(clearing, int64) { stop() })
		for i := range 30 {
			must(t, c.commit(t.Context(), fmt.Sprint("s", i)))
		}
		must(t, c.commit(t.Context(), "a"), c.Block(t.Context(), stream("b"), 0))
		broken, cancel := context.WithCancel(t.Context())
		stop = cancel
		if err := c.clears.Clear(broken); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v, want that it was cancelled", operation, err)
		}
		for _, name := range []string{"a", "b", "s7"} {
			mark, err := c.Watermark(t.Context(), stream(name))
			if err != nil || !mark.Blocked && mark.SequenceNr > 0 {
				t.Errorf("%s: the watermark of %s is %+v, %v, want it blocked or gone", operation, name, mark, err)
			}
			if err := c.Unblock(t.Context(), stream(name)); mark.Blocked && !errors.Is(err, driver.ErrConflict) {
				t.Errorf("%s: Unblock of %s: %v, want a conflict", operation, name, err)
			}
		}
		requests := awstest.NewCounter(nil)
		must(t, c.open(t, requests).Clear(t.Context()))
		if n := requests.Of("DynamoDB.UpdateItem"); n > 0 {
			t.Errorf("%s: %d watermarks were stopped again", operation, n)
		}
		c.want(t, 0, driver.Watermark{}, driver.Watermark{})
	}
}
