package eventcollector_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/awsqueues"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
)

const (
	queuedCommit = `{"id":"s","sequenceNr":3,"events":[{"type":"T","version":1,"data":{"a":1.0}}],"commands":[{"meta":{"id":"c"},"eventCount":1}]}`
	queuedWhole  = `{"log":"Test.Log","commit":` + queuedCommit + `}`
	queuedClaim  = `{"log":"Test.Log","stream":"s","sequenceNr":3}`
)

// wrapped is a message as SNS delivers it without raw delivery.
func wrapped(message string) string {
	text, _ := json.Marshal(message) // a string always marshals
	return `{"Type":"Notification","MessageId":"m","SequenceNumber":"10","TopicArn":"arn","Message":` + string(text) +
		`,"Timestamp":"2026-01-01T00:00:00Z","MessageAttributes":{"log":{"Type":"String","Value":"Test.Log"}}}`
}

func TestDecodeQueue(t *testing.T) {
	t.Parallel()
	for _, body := range []string{queuedWhole, wrapped(queuedWhole)} {
		r := eventcollector.DecodeQueue(body, "Test.Log")
		if r.Err != nil || r.Raw != nil || r.Log != "Test.Log" || r.Stream != "s" || r.SequenceNr != 3 || r.Commit == nil || string(r.Commit.Events[0].Data) != `{"a":1.0}` {
			t.Errorf("%s is %+v", body, r)
		}
	}
	for _, body := range []string{queuedClaim, wrapped(queuedClaim), `{"log":"Test.Log","stream":"s","sequenceNr":3,"commit":null}`} {
		r := eventcollector.DecodeQueue(body, "Test.Log")
		if r.Err != nil || r.Raw != nil || r.Log != "Test.Log" || r.Stream != "s" || r.SequenceNr != 3 || r.Commit != nil {
			t.Errorf("%s is %+v", body, r)
		}
	}
}

func TestDecodeQueueKeepsWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", "x", "null", "[]", "{}", `{"Type":"Notification"}`, wrapped("x"), wrapped(wrapped(queuedWhole)),
		strings.Replace(queuedWhole, "Test.Log", "Test.Other", 1), // another log's stream of that name is another stream
		`{"log":"Test.Log"}`,
		`{"log":"Test.Log","stream":"s"}`,
		`{"log":"Test.Log","stream":"","sequenceNr":1}`,
		`{"log":"Test.Log","stream":"s","sequenceNr":-1}`,
		`{"log":"Test.Log","commit":{}}`,
		`{"log":"Test.Log","commit":7}`,
		strings.Replace(queuedWhole, `"events":[{"type":"T","version":1,"data":{"a":1.0}}]`, `"events":[]`, 1),
	} {
		r := eventcollector.DecodeQueue(body, "Test.Log")
		if !errors.Is(r.Err, driver.ErrInvalid) || string(r.Raw) != body || r.Commit != nil {
			t.Errorf("%s is %+v", body, r)
		}
	}
}

// A message that is no record is delivered in its turn, and can be settled like
// any other.
func TestQueueDeliversWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	store := awsqueues.NewStore(awstest.MiniStack(t).Clients(awstest.Transport()), time.Minute)
	url, _, err := store.Queue(t.Context(), store.Name("collector", "Test.Consumer"))
	if err != nil {
		t.Fatal(err)
	}
	bodies := []string{"?", queuedClaim, "!", queuedWhole}
	for i, body := range bodies {
		if err := store.Put(t.Context(), url, body, "g", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	requests := awstest.NewCounter(awstest.Transport())
	c := eventcollector.OpenQueue(awstest.MiniStack(t).Clients(requests).SQS, url, "Test.Log", nil)
	batch, err := c.Receive(t.Context(), 64)
	if err != nil || len(batch.Deliveries) != len(bodies) {
		t.Fatalf("got %d deliveries, %v", len(batch.Deliveries), err)
	}
	var ends []driver.Settlement
	for i, d := range batch.Deliveries {
		if r := d.Message; i%2 == 0 && (r.Err == nil || string(r.Raw) != bodies[i]) || i%2 == 1 && (r.Err != nil || r.SequenceNr != 3) {
			t.Errorf("%s is delivered as %+v", bodies[i], r)
		}
		ends = append([]driver.Settlement{{ID: d.ID, Retry: i == 2}}, ends...)
	}
	ends[0].Retry = true // with the one before it, as is the rule
	if err := c.Settle(t.Context(), ends); err != nil {
		t.Fatal(err)
	}
	batch, err = c.Receive(t.Context(), 10)
	if err != nil || len(batch.Deliveries) != 2 || string(batch.Deliveries[0].Message.Raw) != "!" || batch.Deliveries[0].Attempt != 2 {
		t.Errorf("then came %+v, %v", batch.Deliveries, err)
	}
	if n := requests.Of(); n != 4 {
		t.Errorf("the requests are %v, want 4", requests.All())
	}
}

func FuzzDecodeQueue(f *testing.F) {
	for _, s := range []string{"", "null", queuedWhole, queuedClaim, wrapped(queuedWhole), wrapped(queuedClaim), `{"log":"Test.Log","commit":{"id":"\ud800"}}`, "\xff"} {
		f.Add(s, "Test.Log")
	}
	f.Fuzz(func(t *testing.T, body, log string) {
		r := eventcollector.DecodeQueue(body, log)
		if r.Err != nil {
			if !errors.Is(r.Err, driver.ErrInvalid) || string(r.Raw) != body || r.Commit != nil {
				t.Errorf("%q is %+v", body, r)
			}
			return
		}
		if r.Raw != nil || r.Log != log || driver.CheckID("stream", r.Stream) != nil || r.SequenceNr == 0 {
			t.Errorf("%q is %+v", body, r)
		}
		if c := r.Commit; c != nil && (c.Stream != r.Stream || c.SequenceNr != r.SequenceNr || driver.CheckCommit(*c) != nil) {
			t.Errorf("%q has the commit %+v", body, *c)
		}
	})
}
