package leases_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
)

// failing is a source with one message, whose calls fail with err.
type failing struct{ err error }

func (*failing) Tail() int64 { return 1 }

func (f *failing) Load(context.Context, int64, int) ([]leases.Item[string], bool, error) {
	return []leases.Item[string]{{Position: 1, Group: "g", Content: leases.Content[string]{Message: "m"}}}, true, f.err
}

func (f *failing) Fetch(context.Context, []int64) (map[int64]leases.Content[string], error) {
	return map[int64]leases.Content[string]{1: {Message: "m"}}, f.err
}

func (*failing) Remove(_ context.Context, _ []int64, gone func()) error {
	gone()
	return nil
}

// A call of Receive whose source fails delivers nothing: it is not an attempt, and the
// message is available to the next call.
func TestMessagesOfAFailedReceiveAreAvailable(t *testing.T) {
	t.Parallel()
	source := &failing{}
	q := leases.New(source, leases.Options{Now: time.Now, Lease: time.Hour})
	for attempt := 1; attempt <= 3; attempt++ { // the first is loaded, the others are fetched
		source.err = driver.ErrUnavailable
		if _, err := q.Receive(t.Context(), 10); !errors.Is(err, driver.ErrUnavailable) {
			t.Fatalf("attempt %d: got %v, want the error of the source", attempt, err)
		}
		source.err = nil
		b, err := q.Receive(t.Context(), 10)
		if err != nil || len(b.Deliveries) != 1 || b.Deliveries[0].Attempt != attempt || b.Deliveries[0].Message != "m" {
			t.Fatalf("attempt %d: got %+v, %v", attempt, b, err)
		}
		if err := q.Settle(t.Context(), []driver.Settlement{{ID: b.Deliveries[0].ID, Retry: true}}); err != nil {
			t.Fatal(err)
		}
	}
}
