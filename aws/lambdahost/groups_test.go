package lambdahost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// failingOnce is an engine that fails all deliveries of its first call and handles those of
// later calls.
type failingOnce struct {
	engine
	delivered []string // with their attempts
}

func failOnce[T any](e *failingOnce, deliveries []driver.Delivery[T], name, group func(T) string) []driver.Settlement {
	first := e.delivered == nil
	for _, d := range deliveries {
		e.delivered = append(e.delivered, fmt.Sprintf("%s attempt %d", name(d.Message), d.Attempt))
	}
	return core.InOrder(deliveries, group, func(d driver.Delivery[T]) driver.Settlement { return driver.Settlement{ID: d.ID, Retry: first} })
}

func (e *failingOnce) HandleCommands(_ context.Context, _ string, d []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
	return failOnce(e, d, func(c driver.Command) string { return c.Meta.ID }, func(c driver.Command) string { return c.Entity }), nil
}

func (e *failingOnce) records(d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	return failOnce(e, d, func(r driver.Record) string { return fmt.Sprint(r.Stream, r.SequenceNr) }, func(r driver.Record) string { return r.Stream }), nil
}

func (e *failingOnce) HandleRecords(_ context.Context, _, _ string, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	return e.records(d)
}

func (e *failingOnce) HandleRelayed(_ context.Context, _ string, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	return e.records(d)
}

func (e *failingOnce) HandleFirings(_ context.Context, d []driver.Delivery[driver.Firing]) []driver.Settlement {
	return failOnce(e, d, func(f driver.Firing) string { return fmt.Sprint(f.Name, f.Due.Minute()) }, func(f driver.Firing) string { return f.Name })
}

func (e *failingOnce) HandleObjects(_ context.Context, _ string, d []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
	key := func(o driver.ObjectEvent) string { return o.Key }
	return failOnce(e, d, key, key), nil
}

func (e *failingOnce) DeclaredFiring(name string, due time.Time) (driver.Firing, error) {
	return driver.Firing{Name: name, Due: due}, nil
}

// A message that waits for an earlier one of its group is not an attempt. However often a
// message was received, some attempts are left, because its handler may not have caused the
// redeliveries.
func TestAttemptsAreCountedByGroup(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	queued := func(kind naming.Kind, component string, received int, group, body string) map[string]any {
		m := s.messageOf(kind, component, body, group, body)
		m["attributes"].(map[string]string)["ApproximateReceiveCount"] = fmt.Sprint(received)
		return m
	}
	put := func(received int, entity, id string) map[string]any {
		return queued(naming.Commands, "P.Jar", received, entity, put("P.Jar", entity, id, 1))
	}
	claim := func(received int, stream string, n int) map[string]any {
		return queued(naming.Collector, "P.Total", received, stream, fmt.Sprintf(`{"log":"P.Jar","stream":%q,"sequenceNr":%d}`, stream, n))
	}
	tick := func(received int, schedule string, minute int) map[string]any {
		return queued(naming.Timers, "", received, "", fmt.Sprintf(`{"schedule":%q,"due":"2026-11-27T10:0%d:00Z"}`, schedule, minute))
	}
	change := func(stream string, n int) map[string]any {
		keys := map[string]any{"id": map[string]any{"S": stream}, "sequenceNr": map[string]any{"N": fmt.Sprint(n)}}
		return s.record("P.Jar", stream+fmt.Sprint(n), map[string]any{"Keys": keys})
	}
	queue := []int{2, 1, 3, 3, 1, 4} // attempts of a1, a2 and b1, twice
	for function, c := range map[string]struct {
		event    string
		attempts []int
	}{
		"commands/P":    {records(put(2, "a", "a1"), put(1, "a", "a2"), put(9, "b", "b1")), queue},
		"projections/P": {records(claim(2, "a", 1), claim(1, "a", 2), claim(9, "b", 1)), queue},
		"timers":        {records(tick(2, "a", 1), tick(1, "a", 2), tick(9, "b", 1)), queue},
		"relay/P":       {records(change("a", 1), change("a", 2), change("b", 1)), []int{1, 1, 1, 2, 1, 2}},
	} {
		f := s.start(function, nil)
		e := &failingOnce{engine: f.engine}
		f.engine = e
		f.handles(c.event)
		var want []string
		for i, n := range c.attempts {
			want = append(want, fmt.Sprintf("%s attempt %d", []string{"a1", "a2", "b1"}[i%3], n))
		}
		if !slices.Equal(e.delivered, want) {
			t.Errorf("%s: delivered are %q, want %q", function, e.delivered, want)
		}
	}
}

// Two firings of a schedule that was created at run time may come in one batch. When the
// first is handled, the second, which was due before, no longer counts.
func TestMissedFiringsOfABatchFireOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("timers", nil)
	e := &failingOnce{engine: f.engine, delivered: []string{}} // fails nothing
	f.engine = e
	if err := f.scheduler.Create(t.Context(), driver.Schedule{Name: "hourly", Expression: "rate(1 hour)"}); err != nil {
		t.Fatal(err)
	}
	stored, err := s.Others.Clients(nil).Scheduler.GetSchedule(t.Context(), &scheduler.GetScheduleInput{
		GroupName: aws.String(s.Resource(naming.Schedules, "")), Name: aws.String(naming.ScheduleName("hourly")),
	})
	if err != nil {
		t.Fatal(err)
	}
	var missed []map[string]any
	for i, ago := range []time.Duration{90 * time.Minute, 30 * time.Minute} {
		body := strings.Replace(aws.ToString(stored.Target.Input), "<aws.scheduler.scheduled-time>", time.Now().Add(-ago).UTC().Format(time.RFC3339), 1)
		missed = append(missed, s.messageOf(naming.Timers, "", fmt.Sprint("m", i), "", body))
	}
	f.handles(records(missed...))
	if len(e.delivered) != 1 {
		t.Errorf("the schedule fired as %q, want once", e.delivered)
	}
}

// The queue of a bucket repeats messages. A task does not receive an event again that it has
// handled.
func TestHandledObjectEventsAreNotRepeated(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("tasks/P", nil)
	e := &failingOnce{engine: f.engine, delivered: []string{}} // fails nothing
	f.engine = e
	came := s.dropped(map[string]string{"a": "7"})
	for range 2 {
		f.handles(records(came...))
	}
	if len(e.delivered) != 1 {
		t.Errorf("delivered are %q, want the event once", e.delivered)
	}
}

// delays is a transport that keeps the delays of messages and stores nothing.
type delays map[string]int32 // by receipt

func (d delays) RoundTrip(r *http.Request) (*http.Response, error) {
	if awstest.Operation(r) != "SQS.ChangeMessageVisibilityBatch" {
		return blocking{"DynamoDB.PutItem"}.RoundTrip(r)
	}
	var in struct {
		Entries []struct {
			ReceiptHandle     string
			VisibilityTimeout int32
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	for _, e := range in.Entries {
		d[e.ReceiptHandle] = e.VisibilityTimeout
	}
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(bytes.NewReader([]byte(`{"Successful":[],"Failed":[]}`))),
	}, nil
}

// All failed messages of a group have the longest of their delays.
func TestDelaysKeepTheOrderOfGroups(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	var messages []map[string]any
	for i, received := range []string{"3", "1", "2"} {
		entity := []string{"a", "a", "b"}[i]
		m := s.messageOf(naming.Commands, "P.Jar", fmt.Sprint("m", i), entity, put("P.Jar", entity, fmt.Sprint("c", i), 1))
		m["attributes"].(map[string]string)["ApproximateReceiveCount"] = received
		messages = append(messages, m)
	}
	got := delays{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if failed, err := s.start("commands/P", got).invokeIn(ctx, records(messages...)); err != nil || len(failed) != 3 {
		t.Errorf("failed are %q, %v, want all", failed, err)
	}
	if want := (delays{"receipt-m0": 64, "receipt-m1": 64, "receipt-m2": 16}); !maps.Equal(got, want) {
		t.Errorf("the delays in seconds are %v, want %v", got, want)
	}
}
