package inflight_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless/aws/internal/inflight"
	"github.com/reventless-go/reventless/driver"
)

const patience = 2 * time.Second

func backoff(int) time.Duration { return 100 * time.Millisecond }

// run handles messages whose names start with their group. It returns the handled messages
// with their attempts in order, and those that are not done. fail returns whether a message
// fails, and the delay of its retry.
func run(t *testing.T, ctx context.Context, messages []string, fail func(name string, attempt int) (time.Duration, bool)) (handled, left []string) {
	t.Helper()
	m := inflight.New[string](nil)
	for _, name := range messages {
		m.Add(inflight.Message[string]{ID: name, Group: name[:1], Attempt: 1, Message: name})
	}
	m.Work(ctx, 3, patience, backoff, func(_ context.Context, deliveries []driver.Delivery[string]) ([]driver.Settlement, error) {
		var settlements []driver.Settlement
		retrying := map[string]bool{}
		for _, d := range deliveries {
			s := driver.Settlement{ID: d.ID, Retry: retrying[d.Message[:1]]}
			if !s.Retry {
				handled = append(handled, fmt.Sprint(d.Message, d.Attempt))
				s.After, s.Retry = fail(d.Message, d.Attempt)
			}
			retrying[d.Message[:1]] = s.Retry
			settlements = append(settlements, s)
		}
		return settlements, nil
	})
	for _, l := range m.Take() {
		left = append(left, l.ID)
	}
	return handled, left
}

func wantEqual(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s %q, want %q", what, got, want)
	}
}

func TestGroupKeepsItsOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		handled, left := run(t, t.Context(), []string{"a1", "b1", "a2", "a3", "b2"}, func(name string, attempt int) (time.Duration, bool) {
			return time.Second, name == "a1" && attempt < 3
		})
		wantEqual(t, "handled", handled, []string{"a11", "b11", "b21", "a12", "a13", "a21", "a31"})
		wantEqual(t, "not done", left, nil)
	})
}

func TestLongDelayLeavesTheRestOfTheGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		handled, left := run(t, t.Context(), []string{"a1", "b1", "a2"}, func(name string, _ int) (time.Duration, bool) {
			return time.Minute, name == "a1"
		})
		wantEqual(t, "handled", handled, []string{"a11", "b11"})
		wantEqual(t, "not done", left, []string{"a1", "a2"})
		if took := time.Since(began); took > 0 {
			t.Errorf("Work waited for %v", took)
		}
	})
}

func TestWorkEndsBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, left := run(t, ctx, []string{"a1", "b1"}, func(name string, _ int) (time.Duration, bool) {
			return 500 * time.Millisecond, name == "a1"
		})
		wantEqual(t, "not done", left, []string{"a1"})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Work took %v, want at most 3 s", took)
		}
	})
}

func TestFailedBatchIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := inflight.New[string](nil)
		m.Add(inflight.Message[string]{ID: "a", Message: "a"}, inflight.Message[string]{ID: "b", Message: "b"})
		calls := 0
		m.Work(t.Context(), 10, patience, backoff, func(_ context.Context, deliveries []driver.Delivery[string]) ([]driver.Settlement, error) {
			if calls++; calls < 3 {
				return nil, errors.New("failed")
			}
			var settlements []driver.Settlement
			for _, d := range deliveries {
				if d.Attempt != 3 {
					t.Errorf("%s: attempt %d, want the third", d.Message, d.Attempt)
				}
				settlements = append(settlements, driver.Settlement{ID: d.ID})
			}
			return settlements, nil
		})
		if left := m.Take(); len(left) != 0 || calls != 3 {
			t.Errorf("after %d calls, not done are %v", calls, left)
		}
	})
}

// A message without a settlement under the id of its delivery is not done.
func TestDeliveriesAreSettledByTheirIDs(t *testing.T) {
	t.Parallel()
	m := inflight.New[string](nil)
	m.Add(inflight.Message[string]{ID: "a", Attempt: 4, Message: "a"})
	b, err := m.Receive(t.Context(), 10)
	if err != nil || len(b.Deliveries) != 1 || b.Deliveries[0].Attempt != 4 {
		t.Fatal(b, err)
	}
	_ = m.Settle(t.Context(), []driver.Settlement{{ID: "a"}, {ID: ""}, {ID: "other"}})
	if again, _ := m.Receive(t.Context(), 10); len(again.Deliveries) != 0 {
		t.Error("a leased message is received again")
	}
	if _, err := m.Receive(t.Context(), 0); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("Receive of no messages: got the error %v, want ErrInvalid", err)
	}
	if left := m.Take(); len(left) != 1 || left[0].ID != "a" {
		t.Errorf("not done are %v", left)
	}
}
