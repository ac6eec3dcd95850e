package lambdahost

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	sdk "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
)

// Each message of a batch has its own result.
func TestEachMessageOfABatchHasItsOwnResult(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Throttle, Operations: []string{"DynamoDB.PutItem"}, Probability: 1})
	faults.Stop()
	f := s.start("commands/P", faults)
	message := func(id, entity, body string) map[string]any {
		return s.messageOf(naming.Commands, "P.Jar", id, entity, body)
	}
	f.handles(records(
		message("m1", "a", put("P.Jar", "a", "c1", 1)),
		message("m2", "b", "{ no JSON"),
		message("m3", "c", commandOf("P.Jar", "c", "c3", "Refuse", "{}")),
		message("m4", "d", commandOf("P.Jar", "d", "c4", "Explode", "{}")),
		message("m5", "e", put("P.Box", "e", "c5", 1)), // belongs to another queue
		message("m6", "f", commandOf("P.Jar", "f", "c6", "Unknown", "{}")),
		message("m7", "g", put("P.Jar", "g", "c7", 1)),
		message("m8", "g", put("P.Jar", "g", "c8", 2)),
		message("m9", "a", put("P.Jar", "a", "c1", 1)), // a duplicate
	))
	for stream, want := range map[string]int{"a": 1, "b": 0, "c": 0, "d": 0, "e": 0, "f": 0, "g": 1} {
		if got := f.commits("P.Jar", stream); got != want {
			t.Errorf("%q has %d commits, want %d", stream, got, want)
		}
	}
	if got := f.letters("P.Jar"); len(got) != 4 {
		t.Errorf("parked are %q, want the invalid message, the panic, the command of another queue and the unknown command", got)
	}
	for _, l := range f.letters("P.Jar") {
		if strings.Contains(l, "secret") && !strings.Contains(l, "panic") {
			t.Errorf("the dead letter %q contains a payload", l)
		}
	}
	if m := f.out.last(t); m["Messages"] != 9.0 || m["Parked"] != 4.0 || m["Failed"] != 0.0 || m["Panics"] == 0.0 || m["Lag"].(float64) < 1000 {
		t.Errorf("the metrics are %v", m)
	}
	if got, want := f.out.metrics(t), []string{"Duration", "Lag", "Messages", "Panics", "Parked", "Retries"}; !slices.Equal(got, want) {
		t.Errorf("the declared metrics are %q, want %q", got, want)
	}
	if strings.Contains(f.out.String(), "secret") {
		t.Errorf("a payload is in the log: %s", f.out)
	}
}

// While a store is unavailable, only the failed message and the later ones of its group are
// redelivered.
func TestFailedCommandIsRedeliveredWithTheRestOfItsGroup(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("commands/P", blocking{"DynamoDB.PutItem"})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	message := func(id, entity, body string) map[string]any {
		return s.messageOf(naming.Commands, "P.Jar", id, entity, body)
	}
	began := time.Now()
	got, err := f.invokeIn(ctx, records(
		message("m1", "a", put("P.Jar", "a", "c1", 1)),
		message("m2", "b", commandOf("P.Jar", "b", "c2", "Refuse", "{}")),
		message("m3", "a", commandOf("P.Jar", "a", "c3", "Refuse", "{}")),
		message("m4", "a", put("P.Jar", "a", "c4", 1)),
	))
	if err != nil || fmt.Sprint(got) != "[m1 m3 m4]" {
		t.Errorf("failed are %q, %v, want the messages of a", got, err)
	}
	if took := time.Since(began); took >= 2*time.Second {
		t.Errorf("the response took %v, longer than the deadline", took)
	}
	if got := f.letters("P.Jar"); len(got) != 0 {
		t.Errorf("parked are %q while the store was unavailable", got)
	}
	if m := f.out.last(t); m["Failed"] != 3.0 {
		t.Errorf("the metrics are %v, want three failed", m)
	}
}

// The redelivery of failed messages is delayed by some seconds, not by the visibility timeout
// of the queue.
func TestFailedMessagesAreDelayed(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	client := s.Others.Clients(nil).SQS
	url := s.QueueURL(naming.Commands, "P.Jar")
	for i := range 2 {
		if _, err := client.SendMessage(t.Context(), &sdk.SendMessageInput{
			QueueUrl: &url, MessageBody: aws.String(put("P.Jar", "a", fmt.Sprint("c", i), 1)), MessageGroupId: aws.String("a"), MessageDeduplicationId: aws.String(fmt.Sprint(i)),
		}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := client.ReceiveMessage(t.Context(), &sdk.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, VisibilityTimeout: 600})
	if err != nil || len(out.Messages) != 2 {
		t.Fatal(out, err)
	}
	var messages []map[string]any
	for i, m := range out.Messages {
		r := s.messageOf(naming.Commands, "P.Jar", fmt.Sprint("m", i), "a", *m.Body)
		r["receiptHandle"] = *m.ReceiptHandle
		messages = append(messages, r)
	}
	counted := awstest.NewCounter(blocking{"DynamoDB.PutItem"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got, err := s.start("commands/P", counted).invokeIn(ctx, records(messages...)); err != nil || len(got) != 2 {
		t.Errorf("failed are %q, %v", got, err)
	}
	if n := counted.Of("SQS.ChangeMessageVisibilityBatch"); n != 1 {
		t.Errorf("%d requests set delays, want one", n)
	}
	// The delay is four seconds; the visibility timeout of the receive above is 600.
	again, err := client.ReceiveMessage(t.Context(), &sdk.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
	if err != nil || len(again.Messages) == 0 {
		t.Errorf("after 20 s the queue has %v, %v", again, err)
	}
}

// The queue of a consumer has the commits of several topics.
func TestCommitsFromTopics(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	commands.handles(records(
		s.messageOf(naming.Commands, "P.Jar", "m1", "a", put("P.Jar", "a", "c1", 2)),
		s.messageOf(naming.Commands, "P.Jar", "m2", "b", put("P.Jar", "b", "c2", 3)),
	))
	relay := s.start("relay/P", nil)
	relay.handles(records(s.change(commands, "P.Jar", "a", 1, "100"), s.change(commands, "P.Jar", "b", 1, "200")))
	came := s.received(naming.Collector, "P.Total")
	if len(came) != 2 {
		t.Fatalf("the queue of a consumer has %d messages, want both commits", len(came))
	}
	f := s.start("projections/P", nil)
	bad := s.messageOf(naming.Collector, "P.Total", "bad", "x", "no JSON")
	foreign := s.messageOf(naming.Collector, "P.Total", "foreign", "y", `{"log":"P.Other","stream":"a","sequenceNr":1}`)
	gone := s.messageOf(naming.Collector, "P.Total", "gone", "z", `{"log":"P.Jar","stream":"z","sequenceNr":1}`)
	f.handles(records(append([]map[string]any{bad, foreign, gone}, came...)...))
	f.handles(records(came...)) // duplicates
	if got := f.row("P.Total", "all"); got != `{"id":"all","sum":5}` {
		t.Errorf("the row is %s, want the sum of both", got)
	}
	if got := f.letters("P.Total"); len(got) != 3 {
		t.Errorf("parked are %q, want the invalid message, the commit of another log and the missing commit", got)
	}
}

// The schedules of the deployment fire once per due time.
func TestTimers(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("timers", nil)
	tick := func(id, body string) map[string]any { return s.messageOf(naming.Timers, "", id, "", body) }
	f.handles(records(
		tick("t1", `{"schedule":"declared/P.Tick","due":"2026-11-27T10:00:00Z"}`),
		tick("t2", `{"schedule":"declared/P.Tick","due":"2026-11-27T10:00:00Z"}`), // a duplicate
		tick("t3", `{"schedule":"declared/P.Tick","due":"2026-11-27T10:01:00Z"}`),
		tick("t4", `{"schedule":"declared/P.Report","due":"2026-11-27T10:00:00Z"}`),
		tick("t5", `{"schedule":"declared/heartbeat/P","due":"2026-11-27T10:00:00Z"}`),
		tick("t6", `{"schedule":"declared/P.Gone","due":"2026-11-27T10:00:00Z"}`),
		tick("t7", `{"schedule":"declared/P.Tick","due":"noon"}`),
		tick("t8", `no JSON`),
		tick("t9", `{"schedule":"declared/P.Coming","due":"`+time.Now().UTC().Format(time.RFC3339)+`"}`),
	), "t9") // a newer deployment may have this schedule
	if m := f.out.last(t); m["Parked"] != 3.0 {
		t.Errorf("the metrics are %v, want three parked", m)
	}
	sent := s.received(naming.Commands, "P.Jar")
	if len(sent) != 2 {
		t.Errorf("%d commands were sent, want one for each due time", len(sent))
	}
	if beats := s.received(naming.Commands, "Platform.Plugin"); len(beats) != 1 {
		t.Errorf("%d heartbeats, want one", len(beats))
	}
	if _, err := s.Others.Clients(nil).S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(s.Resource(naming.Bucket, "P.Out")), Key: aws.String("2026-11-27T10:00:00Z")}); err != nil {
		t.Errorf("the report: %v", err)
	}
	if got := f.letters("Scheduler"); len(got) != 3 {
		t.Errorf("parked are %q, want the removed schedule, the invalid time and the invalid message", got)
	}
}

func TestSchedulesMadeAtRunTime(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	commands.handles(records(s.messageOf(naming.Commands, "P.Jar", "m1", "a", put("P.Jar", "a", "c1", 1))))
	s.start("relay/P", nil).handles(records(s.change(commands, "P.Jar", "a", 1, "100")))
	reactions := s.start("reactions/P", nil)
	reactions.handles(records(s.received(naming.Collector, "P.Forward")...))
	if got := len(s.received(naming.Commands, "P.Box")); got != 1 {
		t.Fatalf("%d commands were sent immediately, want one", got)
	}
	due := s.received(naming.Timers, "") // the time has passed, so it is sent immediately
	if len(due) != 1 {
		t.Fatalf("received %d firings, want one", len(due))
	}
	timers := s.start("timers", nil)
	timers.handles(records(due...))
	if got := len(s.received(naming.Commands, "P.Box")); got != 1 {
		t.Errorf("%d commands were sent when it was due, want one", got)
	}
	timers.handles(records(due...)) // a duplicate: the schedule no longer exists
	if got := len(s.received(naming.Commands, "P.Box")); got != 0 {
		t.Errorf("%d commands were sent by a duplicate firing", got)
	}
}

// dropped puts files into the bucket and returns its notifications.
func (s *stack) dropped(files map[string]string) []map[string]any {
	s.t.Helper()
	bucket := s.Resource(naming.Bucket, "P.Files")
	for key, body := range files {
		if _, err := s.Others.Clients(nil).S3.PutObject(s.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)}); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.received(naming.Objects, "P.Files")
}

func TestObjects(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	came := s.dropped(map[string]string{"good one+1.txt": "7", "bad": "x"})
	for i := range came {
		if strings.Contains(came[i]["body"].(string), "TestEvent") {
			continue
		}
		var n struct{ Records []any }
		if err := json.Unmarshal([]byte(came[i]["body"].(string)), &n); err != nil || len(n.Records) == 0 {
			t.Fatalf("the notification %v", came[i])
		}
	}
	f := s.start("tasks/P", nil)
	f.handles(records(append(came,
		s.messageOf(naming.Objects, "P.Files", "test", "", `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}`),
		s.messageOf(naming.Objects, "P.Files", "none", "", `no JSON`),
	)...))
	sent := s.received(naming.Commands, "P.Jar")
	if len(sent) != 1 || !strings.Contains(sent[0]["body"].(string), `"entity":"good one+1.txt"`) {
		t.Errorf("the commands %v were sent, want the command of the valid file", sent)
	}
	if got := f.letters("P.Import"); len(got) != 1 || !strings.HasPrefix(got[0], "Object bad") {
		t.Errorf("parked are %q, want the invalid file", got)
	}
	if got := f.letters("P.Files"); len(got) != 1 {
		t.Errorf("parked are %q, want the invalid message", got)
	}
	if m := f.out.last(t); m["Parked"] != 2.0 {
		t.Errorf("the metrics are %v, want two parked", m)
	}
}

// An import that does not return affects no other message. The function gives it up at its
// deadline, and parks the file after enough deliveries.
func TestImportThatDoesNotReturnIsParkedAlone(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	came := s.dropped(map[string]string{"good": "7", "bad": "stuck"})
	f := s.start("tasks/P", nil)
	var bad string
	call := func(given time.Duration, fails bool) {
		t.Helper()
		for _, m := range came {
			m["attributes"].(map[string]string)["ApproximateReceiveCount"] = "5"
			if strings.Contains(m["body"].(string), `"bad"`) {
				bad = m["messageId"].(string)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), given)
		defer cancel()
		got, err := f.invokeIn(ctx, records(came...)) // a function that waited for the import would not return
		if err != nil || fails != slices.Equal(got, []string{bad}) || !fails && len(got) > 0 {
			t.Errorf("within %v, failed are %q, %v, want the message of the stuck file: %v", given, got, err, fails)
		}
	}
	call(2*time.Second, true) // too short to count as the fault of the import
	if sent := s.received(naming.Commands, "P.Jar"); len(sent) != 1 || !strings.Contains(sent[0]["body"].(string), `"entity":"good"`) {
		t.Errorf("the commands %v were sent, want the command of the valid file", sent)
	}
	if got := f.letters(""); len(got) != 0 {
		t.Errorf("parked are %q", got)
	}
	call(12*time.Second, false)
	if got := f.letters("P.Import"); len(got) != 1 || !strings.HasPrefix(got[0], "Object bad: ") || !strings.Contains(got[0], "did not end") {
		t.Errorf("parked are %q, want the stuck file", got)
	}
}
