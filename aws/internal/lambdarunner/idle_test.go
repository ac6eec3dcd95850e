package lambdarunner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

// A message leads to a record, and the record to a message, nine times.
func TestWaitIdleWaitsForFollowingWork(t *testing.T) {
	t.Parallel()
	var url, table string
	var b *bench
	const rounds, each = 9, 3
	b = newBench(t, lambdarunner.Options{}, true, func(c call) order {
		for _, r := range c.Records {
			var i, n int
			if c.Function == "queue" {
				if _, err := fmt.Sscan(r.Body, &i, &n); err != nil {
					t.Error(err)
				}
				b.put(table, fmt.Sprint("i", i), n, 0)
				continue
			}
			if _, err := fmt.Sscanf(r.DynamoDB.Keys.ID["S"]+" "+r.DynamoDB.Keys.N["N"], "i%d %d", &i, &n); err != nil {
				t.Error(err)
			}
			if n++; n < rounds {
				b.send(url, fmt.Sprint("g", i), fmt.Sprint(i, " ", n))
			}
		}
		return order{}
	})
	b.function(lambdarunner.Function{Name: "queue"})
	b.function(lambdarunner.Function{Name: "stream"})
	url = b.mapped("q.fifo", "queue", released)
	table = b.streamed("stream", lambdarunner.StreamMapping{})
	b.Start()
	b.idle() // without any work
	for i := range each {
		b.send(url, fmt.Sprint("g", i), fmt.Sprint(i, " 0"))
	}
	b.idle()
	got := map[string]int{}
	for _, c := range b.seen() {
		got[c.Function] += len(c.Records)
	}
	if got["queue"] != rounds*each || got["stream"] != rounds*each {
		t.Errorf("%v messages and records were handled, want %d of each", got, rounds*each)
	}
}

func TestWaitIdleReportsTheWorkThatIsLeft(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	b := newBench(t, lambdarunner.Options{}, true, func(call) order {
		began <- struct{}{}
		return order{Hang: true}
	})
	b.function(lambdarunner.Function{Name: "f"})
	url := b.mapped("q.fifo", "f", lambdarunner.QueueMapping{})
	b.send(url, "g", "a")
	idle := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err := b.WaitIdle(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want %s", err, want)
		}
	}
	idle("1 visible and 0 leased messages of")
	b.Start()
	<-began
	idle("running")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitIdle(t.Context()); !errors.Is(err, lambdarunner.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
