package lambdarunner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

// released makes failed messages visible immediately. Other messages are not redelivered,
// even on a busy machine.
var released = lambdarunner.QueueMapping{Visibility: time.Minute, Release: true}

// bodies returns the bodies of each batch.
func bodies(calls []call) (all []string) {
	for _, c := range calls {
		var batch []string
		for _, r := range c.Records {
			batch = append(batch, r.Body)
		}
		all = append(all, strings.Join(batch, " "))
	}
	return all
}

func TestQueueEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, true, func(call) order { return order{} })
	b.function(lambdarunner.Function{Name: "f"})
	url, arn := b.queue("q.fifo")
	if err := b.Queue("f", url, arn, released); err != nil {
		t.Fatal(err)
	}
	sent, err := b.clients.SQS.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("body"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	b.idle()
	calls := b.seen()
	if len(calls) != 1 {
		t.Fatalf("%d invocations", len(calls))
	}
	var e events.SQSEvent
	if err := json.Unmarshal(calls[0].Payload, &e); err != nil || len(e.Records) != 1 {
		t.Fatalf("%v: %s", err, calls[0].Payload)
	}
	m := e.Records[0]
	if m.MessageId != *sent.MessageId || m.Body != "body" || m.Md5OfBody != *sent.MD5OfMessageBody || m.ReceiptHandle == "" ||
		m.EventSource != "aws:sqs" || m.EventSourceARN != arn || m.AWSRegion != awstest.Region {
		t.Errorf("the message is %+v", m)
	}
	for name, want := range map[string]string{"ApproximateReceiveCount": "1", "MessageGroupId": "g", "MessageDeduplicationId": "d", "SequenceNumber": *sent.SequenceNumber} {
		if got := m.Attributes[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} {
		if m.Attributes[name] == "" {
			t.Errorf("the attribute %s is missing", name)
		}
	}
}

func TestQueueRedeliversFailedMessages(t *testing.T) {
	t.Parallel()
	first := true
	b := newBench(t, lambdarunner.Options{}, true, func(c call) order {
		if !first {
			return failures()
		}
		first = false
		return failures(c.Records[1].MessageID, c.Records[2].MessageID)
	})
	b.function(lambdarunner.Function{Name: "f"})
	url := b.mapped("q.fifo", "f", released)
	for _, m := range []string{"g1 a", "g1 b", "g1 c", "g2 d"} {
		group, body, _ := strings.Cut(m, " ")
		b.send(url, group, body)
	}
	b.Start()
	b.idle()
	if got, want := bodies(b.seen()), []string{"a b c d", "b c"}; !slices.Equal(got, want) {
		t.Fatalf("batches are %q, want %q", got, want)
	}
	for i, want := range []string{"1", "2"} {
		if got := b.seen()[i].Records[1].Attributes["ApproximateReceiveCount"]; got != want {
			t.Errorf("the receive count is %s, want %s", got, want)
		}
	}
	if s := b.Stats()["f"]; s.Invocations != 2 || s.Failures != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// Errors and invalid answers fail the whole batch, also an answer with the id of a message
// that is not in the batch.
func TestAnswersThatFailTheWholeBatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		first order
	}{
		{"empty id", order{Answer: []byte(`{"batchItemFailures":[{"itemIdentifier":""}]}`)}},
		{"unknown id", failures("unknown")},
		{"error", order{Error: "no"}},
		{"panic", order{Panic: true}},
		{"timeout", order{Hang: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			first := true
			b := newBench(t, lambdarunner.Options{}, true, func(call) order {
				mu.Lock()
				defer mu.Unlock()
				if first {
					first = false
					return test.first
				}
				return order{}
			})
			b.function(lambdarunner.Function{Name: "f", Timeout: 3 * time.Second})
			url := b.mapped("q.fifo", "f", released)
			b.send(url, "g", "a")
			b.send(url, "g", "b")
			b.Start()
			b.idle()
			if got, want := bodies(b.seen()), []string{"a b", "a b"}; !slices.Equal(got, want) {
				t.Errorf("batches are %q, want %q", got, want)
			}
		})
	}
}

func TestStandardQueueIsShuffled(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{Faults: lambdarunner.Faults{Shuffle: true}}, true, func(call) order { return order{} })
	b.function(lambdarunner.Function{Name: "f"})
	url := b.mapped("q", "f", lambdarunner.QueueMapping{BatchSize: 25, Visibility: time.Minute})
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("%02d", i))
		b.send(url, "", want[i])
	}
	b.Start()
	b.idle()
	got := strings.Fields(strings.Join(bodies(b.seen()), " "))
	if calls := b.seen(); len(calls) != 2 || len(calls[0].Records)*len(calls[1].Records) != 25*5 {
		t.Errorf("batches are %q, want one of 25 messages and one of 5", bodies(calls))
	}
	if slices.IsSorted(got) {
		t.Error("all messages arrived in order")
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestInvalidQueueMappings(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, true, echo)
	b.function(lambdarunner.Function{Name: "f", Timeout: 31 * time.Second})
	url, arn := b.queue("q.fifo")
	if err := b.Queue("f", url, arn, lambdarunner.QueueMapping{}); err == nil {
		t.Error("a visibility timeout shorter than the timeout of the function was accepted")
	}
	if err := b.Queue("f", url, arn, lambdarunner.QueueMapping{Visibility: time.Minute, BatchSize: 11}); err == nil {
		t.Error("a batch size of more than ten for a FIFO queue was accepted")
	}
	if err := b.Queue("f", url, arn, lambdarunner.QueueMapping{Visibility: time.Minute}); err != nil {
		t.Error(err)
	}
}

// one tests a single fault, which is injected into every invocation until it is stopped.
func one(t *testing.T, faults lambdarunner.Faults, fired func(lambdarunner.Stats) int) *bench {
	t.Helper()
	b := newBench(t, lambdarunner.Options{Faults: faults}, true, func(call) order { return order{} })
	b.function(lambdarunner.Function{Name: "f"})
	url := b.mapped("q.fifo", "f", released)
	b.send(url, "g", "a")
	b.send(url, "g", "b")
	b.Start()
	await(t, "the fault", func() bool { return fired(b.Stats()["f"]) >= 2 })
	b.StopFaults()
	b.idle()
	n := fired(b.Stats()["f"])
	calls := b.seen()
	for _, c := range calls {
		if len(c.Records) != 2 {
			t.Errorf("batches are %q", bodies(calls))
		}
	}
	if len(calls) > n+1 || b.Stats()["f"].Invocations < 1 {
		t.Errorf("%d faults and %d invocations", n, len(calls))
	}
	return b
}

func TestDuplicateFault(t *testing.T) {
	t.Parallel()
	b := one(t, lambdarunner.Faults{Duplicate: 1}, func(s lambdarunner.Stats) int { return s.Duplicates })
	if s := b.Stats()["f"]; s.Invocations != s.Duplicates+1 || s.Failures != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestLostAnswersAreRedelivered(t *testing.T) {
	t.Parallel()
	b := one(t, lambdarunner.Faults{LoseAnswer: 1}, func(s lambdarunner.Stats) int { return s.LostAnswers })
	if s := b.Stats()["f"]; s.Invocations != s.LostAnswers+1 || s.Failures != s.LostAnswers || s.ColdStarts != 1 {
		t.Errorf("stats are %+v", s)
	}
}

func TestKilledProcessesAreReplaced(t *testing.T) {
	t.Parallel()
	b := one(t, lambdarunner.Faults{Kill: 1}, func(s lambdarunner.Stats) int { return s.Kills })
	if s := b.Stats()["f"]; s.Invocations != s.Kills+1 || s.Failures != s.Kills || s.ColdStarts != s.Kills+1 || s.Exits != 0 {
		t.Errorf("stats are %+v", s)
	}
	for _, c := range b.seen()[:len(b.seen())-1] {
		if alive(c.PID) {
			t.Errorf("process %d still runs", c.PID)
		}
	}
}

// A frozen process goes on when another one has handled its batch.
func TestBatchOfAFrozenProcessIsRedelivered(t *testing.T) {
	t.Parallel()
	b := one(t, lambdarunner.Faults{Freeze: 1}, func(s lambdarunner.Stats) int { return s.Freezes })
	if s := b.Stats()["f"]; s.Invocations != s.Freezes+1 || s.Failures != s.Freezes || s.Exits != 0 {
		t.Errorf("stats are %+v", s)
	}
	for _, c := range b.seen() {
		if !alive(c.PID) {
			t.Errorf("process %d does not run any more", c.PID)
		}
	}
}

func TestThrottledBatchesAreRedelivered(t *testing.T) {
	t.Parallel()
	b := one(t, lambdarunner.Faults{Throttle: 1}, func(s lambdarunner.Stats) int { return s.Throttles })
	if s := b.Stats()["f"]; s.Invocations != 1 || s.Failures != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// Under all faults every message is delivered, and the first delivery of a message comes
// after the earlier messages of its group were handled.
func TestQueueWithAllFaults(t *testing.T) {
	t.Parallel()
	const seed, groups, each = 7, 6, 15
	var mu sync.Mutex
	next := map[string]int{} // by group
	tried := map[string]bool{}
	wrong := ""
	b := newBench(t, lambdarunner.Options{Seed: seed, Faults: lambdarunner.Faults{
		Duplicate: 0.2, LoseAnswer: 0.15, Kill: 0.1, Freeze: 0.1, Recycle: 0.1, Throttle: 0.1, Shuffle: true,
	}}, true, func(c call) order {
		mu.Lock()
		defer mu.Unlock()
		var failed []string
		stopped := map[string]bool{}
		for _, r := range c.Records {
			group := r.Attributes["MessageGroupId"]
			var n int
			if _, err := fmt.Sscan(r.Body, &n); err != nil {
				t.Error(err)
			}
			switch {
			case n > next[group] && !stopped[group]:
				wrong = fmt.Sprintf("group %s received %d, want %d", group, n, next[group])
			case stopped[group] || n%5 == 4 && !tried[r.MessageID]: // some fail on the first attempt
				stopped[group], tried[r.MessageID] = true, true
				failed = append(failed, r.MessageID)
			case n == next[group]:
				next[group]++
			}
		}
		return failures(failed...)
	})
	b.function(lambdarunner.Function{Name: "f", Concurrency: 2})
	url := b.mapped("q.fifo", "f", lambdarunner.QueueMapping{BatchSize: 4, Visibility: time.Minute, Release: true})
	b.Start()
	for n := range each {
		for g := range groups {
			b.send(url, fmt.Sprintf("g%d", g), fmt.Sprint(n))
		}
	}
	b.idle()
	mu.Lock()
	defer mu.Unlock()
	if wrong != "" {
		t.Errorf("seed %d: %s", seed, wrong)
	}
	for g := range groups {
		if got := next[fmt.Sprintf("g%d", g)]; got != each {
			t.Errorf("seed %d: group %d handled %d of %d messages", seed, g, got, each)
		}
	}
	t.Logf("%+v", b.Stats()["f"])
}
