package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
	"github.com/reventless-go/reventless/internal/testenv"
)

var (
	seeds = flag.Int("seeds", 0, "how many seeds of faults there are, from 1 on; 0 is one for each part, and three in the long form")
	only  = flag.Uint64("seed", 0, "run this seed of faults alone")
)

// parts is the number of parts of the file of invoices; each seed replays one part.
const parts = 33

// together is the number of seeds that share a DynamoDB Local.
const together = 10

// slots is the number of seeds that run at the same time.
var slots = make(chan struct{}, 2)

// TestShopUnderFaults replays parts of the file with faults: batches are delivered
// twice, answers are lost, processes are killed or frozen, invocations are refused and
// shards are shuffled. The services throttle, fail, process parts of batches and lose connections,
// before or after a request takes effect. The read models must still match the file.
func TestShopUnderFaults(t *testing.T) {
	n := *seeds
	switch {
	case n > 0:
	case testenv.Long():
		n = 3 * parts
	default:
		n = parts
	}
	first, last := uint64(1), uint64(n) //nolint:gosec // it is not negative
	if *only > 0 {
		first, last = *only, *only
	}
	for ; first <= last; first += together {
		to := min(first+together-1, last)
		t.Run(fmt.Sprintf("seeds=%d-%d", first, to), func(t *testing.T) {
			dynamoDB := awstest.NewDynamoDB(t)
			for n := first; n <= to; n++ {
				t.Run(fmt.Sprint("seed=", n), func(t *testing.T) {
					t.Parallel()
					underFaults(t, n, dynamoDB, part(t, sample(t), func(invoice int) bool { return uint64(invoice)%parts == n%parts })) //nolint:gosec // it is a place in a list
				})
			}
		})
	}
}

// TestWholeFileUnderFaults does the same once, for all invoices together.
func TestWholeFileUnderFaults(t *testing.T) {
	underFaults(t, 1, awstest.NewDynamoDB(t), sample(t))
}

func underFaults(t *testing.T, n uint64, dynamoDB *awstest.Emulator, file []byte) {
	slots <- struct{}{}
	defer func() { <-slots }()
	s := newStack(t, dynamoDB, awstest.MiniStack(t))
	var log output
	sent := commands(t, file)
	stores := awstest.NewFaults(nil, n,
		awstest.Rule{Fault: awstest.Throttle, Operations: []string{"DynamoDB.*"}, Contains: sent[0].Entity, Most: 25, Probability: 1}, // a hot partition
		awstest.Rule{Fault: awstest.Throttle, Probability: 0.03},
		awstest.Rule{Fault: awstest.Internal, Probability: 0.01},
		awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.01},
		awstest.Rule{Fault: awstest.Reset, Probability: 0.01},
		awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.01},
		awstest.Rule{Fault: awstest.Unprocessed, Probability: 0.05},
		awstest.Rule{Fault: awstest.Part, Probability: 0.2},
	)
	r := s.run(lambdarunner.Options{
		Log: &log, Seed: n,
		Faults: lambdarunner.Faults{Duplicate: 0.1, LoseAnswer: 0.05, Kill: 0.05, Freeze: 0.05, Recycle: 0.05, Throttle: 0.02, Shuffle: true},
	}, "AWS_ENDPOINT_URL="+awstest.Proxy(t, s.Others.Endpoint, stores), "AWS_ENDPOINT_URL_DYNAMODB="+awstest.Proxy(t, s.DynamoDB.Endpoint, stores))
	began := time.Now()
	s.send(sent)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := r.WaitIdle(ctx); err != nil {
		t.Fatalf("%v; the log ends with\n%s", err, log.tail())
	}
	total := lambdarunner.Stats{}
	for _, f := range r.Stats() {
		total.Invocations += f.Invocations
		total.Duplicates += f.Duplicates
		total.LostAnswers += f.LostAnswers
		total.Kills += f.Kills
		total.Freezes += f.Freezes
		total.Throttles += f.Throttles
		total.ColdStarts += f.ColdStarts
	}
	t.Logf("seed %d: %v; %d invocations, %d repeated, %d answers lost, %d killed, %d frozen, %d refused, %d cold starts; of the stores %v", n, time.Since(began).Round(time.Millisecond),
		total.Invocations, total.Duplicates, total.LostAnswers, total.Kills, total.Freezes, total.Throttles, total.ColdStarts, stores.Injected())
	if d := r.Dropped(); len(d) > 0 {
		t.Errorf("%d batches of streams were dropped", len(d))
	}
	s.check(file)
	if t.Failed() {
		t.Logf("the log ends with\n%s", log.tail())
	}
}

// output keeps the end of what functions print.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() > 1<<20 {
		o.text.Next(o.text.Len() / 2)
	}
	return o.text.Write(p)
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text.String()
	return text[max(0, len(text)-8000):]
}
