package eventtopic_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/eventtopic"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// open returns an empty FIFO topic through a transport, nil being the plain one, and
// the URL of the queue that is subscribed to it.
func open(t *testing.T, transport http.RoundTripper) (*eventtopic.Topic, string) {
	t.Helper()
	topic, _, url := opened(t, transport)
	return topic, url
}

func opened(t *testing.T, transport http.RoundTripper) (topic *eventtopic.Topic, arn, url string) {
	t.Helper()
	d, url := awstest.NewQueue(t, wiring.Trigger{Source: naming.Collector, Component: "Test.Consumer", Logs: []string{"Test.Log"}})
	arn = awstest.ARN("sns", d.Resource(naming.Events, "Test.Log"))
	return eventtopic.Open(awstest.MiniStack(t).Clients(transport).SNS, arn, nil), arn, url
}

func envelope(stream string, n uint64, bytes int, types ...string) driver.Envelope {
	if types == nil {
		types = []string{"Happened"}
	}
	c := driver.Commit{Stream: stream, SequenceNr: n, Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "c"}, EventCount: len(types)}}}
	for _, typ := range types {
		c.Events = append(c.Events, driver.Event{Type: typ, Version: 1, Data: json.RawMessage(`"` + strings.Repeat("x", bytes) + `"`)})
	}
	return driver.Envelope{Log: "Test.Log", Commit: c}
}

// collect takes n records from a queue.
func collect(t *testing.T, url string, n int) []driver.Record {
	t.Helper()
	var got []driver.Record
	for _, body := range awstest.Bodies(t, url, n) {
		got = append(got, eventcollector.DecodeQueue(body, "Test.Log"))
	}
	return got
}

func TestTenCommitsAreOneRequest(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	topic, _ := open(t, requests)
	var es []driver.Envelope
	for n := range uint64(10) {
		es = append(es, envelope("s", n+1, 10<<10))
	}
	if err := errors.Join(topic.Publish(t.Context(), es), topic.Publish(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	if got := requests.All(); got["SNS.PublishBatch"] != 1 || len(got) != 1 {
		t.Errorf("the requests are %v, want one", got)
	}
	requests.Reset()
	for i := range es {
		es[i] = envelope("t", uint64(i)+1, 100<<10) // two fit in 256 KiB
	}
	if err := topic.Publish(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	if n := requests.Of("SNS.PublishBatch"); n != 5 {
		t.Errorf("ten commits of 100 KiB are %d requests, want 5", n)
	}
}

// A message contains its commit up to the exact limit. A larger commit, or one that the
// service would change, is published as a claim.
func TestLargeCommitsArePublishedAsClaims(t *testing.T) {
	t.Parallel()
	topic, url := open(t, nil)
	size := func(e driver.Envelope) int { // of the message and its attributes
		commit, err := driver.EncodeCommit(e.Commit)
		if err != nil {
			t.Fatal(err)
		}
		return len(`{"log":"Test.Log","commit":}`) + len(commit) + len("logStringTest.Log") + len(`typesString.Array["Happened"]`)
	}
	fits := eventtopic.MaxBytes - size(envelope("s", 1, 0))
	odd := envelope("\uffff<&>", 1, 1)
	for i, tt := range []struct {
		e     driver.Envelope
		whole bool
	}{
		{envelope("s", 1, fits), true},
		{envelope("s", 2, fits+1), false},
		{envelope("s", 3, 399<<10), false},
		{envelope("s", 4, 1), true},
		{odd, false},
	} {
		if err := topic.Publish(t.Context(), []driver.Envelope{tt.e}); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		r := collect(t, url, 1)[0]
		if r.Err != nil || r.Stream != tt.e.Commit.Stream || r.SequenceNr != tt.e.Commit.SequenceNr || (r.Commit != nil) != tt.whole {
			t.Errorf("%d: got %.200v, want the whole commit: %v", i, fmt.Sprint(r), tt.whole)
		}
	}
	// The types are for filters, they cannot be left out.
	var types []string
	for i := range 300 {
		types = append(types, fmt.Sprintf("%d%s", i, strings.Repeat("T", 1000)))
	}
	large := envelope("s", 5, 1, types...)
	err := topic.Publish(t.Context(), []driver.Envelope{large, envelope("s", 6, 1)})
	var some *driver.BatchError
	if !errors.As(err, &some) || len(some.Failed) != 1 || !errors.Is(some.Failed[large.Key()], driver.ErrTooLarge) {
		t.Errorf("got %.300v, want that one is too large", err)
	}
	if r := collect(t, url, 1)[0]; r.SequenceNr != 6 {
		t.Errorf("got commit %d, want 6", r.SequenceNr)
	}
}

// What a subscription may ask for beside what a deployment does: not all types of
// events, and no raw delivery.
func TestSubscriptionsFilterByTypeAndMayBeWrapped(t *testing.T) {
	t.Parallel()
	topic, arn, _ := opened(t, nil)
	d, url := awstest.NewQueue(t, wiring.Trigger{Source: naming.Collector, Component: "Test.Other"})
	if _, err := awstest.MiniStack(t).Clients(nil).SNS.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: &arn, Protocol: aws.String("sqs"), Endpoint: aws.String(awstest.ARN("sqs", d.Resource(naming.Collector, "Test.Other"))),
		Attributes: map[string]string{"FilterPolicy": `{"types":["Wanted \u00e4"],"log":["Test.Log"]}`},
	}); err != nil {
		t.Fatal(err)
	}
	other := envelope("s", 4, 1, "Wanted ä")
	other.Log = "Test.Other"
	if err := topic.Publish(t.Context(), []driver.Envelope{
		envelope("s", 1, 1, "Other"), envelope("s", 2, 1, "Other", "Wanted ä", "Other"), envelope("s", 3, 1, `"],["`), other, envelope("s", 5, 1, "Wanted ä"),
	}); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, url, 2); got[0].Err != nil || got[0].SequenceNr != 2 || got[1].SequenceNr != 5 {
		t.Errorf("got the records %+v, want commits 2 and 5", got)
	}
}

// A standard topic takes no group; it delivers, in whatever order.
func TestStandardTopicDelivers(t *testing.T) {
	t.Parallel()
	clients, name := awstest.MiniStack(t).Clients(nil), awstest.Stack()
	topic, err := clients.SNS.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := clients.SQS.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients.SNS.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(awstest.ARN("sqs", name)), Attributes: map[string]string{"RawMessageDelivery": "true"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := eventtopic.Open(clients.SNS, *topic.TopicArn, nil).Publish(t.Context(), []driver.Envelope{envelope("s", 1, 1), envelope("s", 2, 1)}); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, r := range collect(t, *queue.QueueUrl, 2) {
		seen[r.SequenceNr] = r.Err == nil && r.Commit != nil
	}
	if !seen[1] || !seen[2] {
		t.Errorf("got the commits %v, want 1 and 2", seen)
	}
}

func TestMissingTopicIsUnavailable(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:sns:" + awstest.Region + ":" + awstest.Account + ":missing.fifo"
	err := eventtopic.Open(awstest.MiniStack(t).Clients(awstest.Transport()).SNS, arn, nil).Publish(t.Context(), []driver.Envelope{envelope("s", 1, 1)})
	if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), arn) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestBadEnvelopesAreRefused(t *testing.T) {
	t.Parallel()
	topic, url := open(t, nil)
	nameless, empty := envelope("a", 1, 1), envelope("b", 1, 1)
	nameless.Log, empty.Commit.Events = "", nil
	err := topic.Publish(t.Context(), []driver.Envelope{nameless, empty, envelope("c", 0, 1), envelope("d", 1, 1)})
	var some *driver.BatchError
	if !errors.As(err, &some) || len(some.Failed) != 3 {
		t.Fatalf("got %v, want that three are refused", err)
	}
	for key, err := range some.Failed {
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if r := collect(t, url, 1)[0]; r.Stream != "d" {
		t.Errorf("got a commit of %s, want that of d", r.Stream)
	}
}

// Whatever fails before or after its effect: a relay that publishes again what was not
// acknowledged leaves a consumer nothing to miss.
func TestNothingPublishedIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
	topic, url := open(t, faults)
	const streams, each = 4, 20
	var relays sync.WaitGroup
	for s := range streams {
		relays.Go(func() {
			for n := uint64(1); n <= each; n += 4 {
				var es []driver.Envelope
				for i := range uint64(4) {
					es = append(es, envelope(fmt.Sprintf("s%d", s), n+i, 100))
				}
				for err := topic.Publish(t.Context(), es); err != nil; err = topic.Publish(t.Context(), es) {
					if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
						t.Errorf("publish: %v (seed %d)", err, seed)
						return
					}
				}
			}
		})
	}
	relays.Wait()
	last := map[string]uint64{}
	for _, r := range collect(t, url, streams*each) {
		if r.Err != nil || r.SequenceNr > last[r.Stream]+1 {
			t.Errorf("of %s commit %d came where %d is due: %v (seed %d)", r.Stream, r.SequenceNr, last[r.Stream]+1, r.Err, seed)
		}
		last[r.Stream] = max(last[r.Stream], r.SequenceNr)
	}
}
