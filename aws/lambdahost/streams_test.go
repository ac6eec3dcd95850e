package lambdahost

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/message"
)

// fill sends a command for each number to a box.
func (s *stack) fill(f *function, box string, numbers ...int) {
	s.t.Helper()
	var messages []map[string]any
	for i, n := range numbers {
		messages = append(messages, s.messageOf(naming.Commands, "P.Box", fmt.Sprint(box, i), box, put("P.Box", box, fmt.Sprint(box, "-", i), n)))
		if _, err := f.invoke(records(messages[i])); err != nil { // each a commit of its own
			s.t.Fatal(err)
		}
	}
}

// Batches are repeated, shifted, reordered and have gaps.
func TestRepeatedRecordsAreAppliedOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1, 2, 3, 4)
	s.fill(commands, "b", 10, 20)
	f := s.start("projections/P", nil)
	a := func(n uint64) map[string]any { return s.change(commands, "P.Box", "a", n, fmt.Sprint(100+n)) }
	b := func(n uint64) map[string]any { return s.change(commands, "P.Box", "b", n, fmt.Sprint(200+n)) }
	f.handles(records(a(1), b(1)))
	f.handles(records(a(1), b(1)))       // twice
	f.handles(records(b(2), a(2)))       // shifted
	f.handles(records(a(4)))             // a gap: 3 is read from the log
	f.handles(records(a(3), a(2), b(1))) // late and in another order
	for id, want := range map[string]string{"a": `{"id":"a","sum":10}`, "b": `{"id":"b","sum":30}`} {
		if got := f.row("P.Boxes", id); got != want {
			t.Errorf("the row is %s, want %s", got, want)
		}
	}
	if got := f.row("P.BoxTotal", "all"); got != `{"id":"all","sum":40}` {
		t.Errorf("the shared row is %s, want 40", got)
	}
}

// The clocks of two functions differ by a quarter of an hour, and both from the services'.
func TestClocksOfFunctionsMayDiffer(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	var apis, projections []*function
	for _, offset := range []time.Duration{7 * time.Minute, -8 * time.Minute} {
		s.now = func() time.Time { return time.Now().Add(offset) }
		apis, projections = append(apis, s.start("api", nil)), append(projections, s.start("projections/P", nil))
	}
	const n = 12
	id := make([]string, n)
	send := func(f *function, i int) {
		t.Helper()
		r := f.ask(`{"operation":"send","command":` + put("P.Box", "a", id[i], i) + `}`)
		if r.Outcome == nil || r.Outcome.Kind != driver.Accepted || r.Outcome.SequenceNr != uint64(i+1) { //nolint:gosec // it is small
			t.Errorf("command %d: the answer is %+v, %+v", i, r.Outcome, r.Error)
		}
	}
	for i := range n {
		// Ids carry the time of a caller, whose clock is that of one function or neither.
		id[i] = ids.New(time.Now().Add([]time.Duration{7 * time.Minute, -8 * time.Minute, 0}[i%3]))
		send(apis[i%2], i)
		send(apis[(i+1)%2], i)
	}
	for i := range n { // without what the other function remembers
		s.now = func() time.Time { return time.Now().Add(time.Duration(i-6) * time.Minute) }
		send(s.start("api", nil), i)
	}
	if got := apis[0].commits("P.Box", "a"); got != n {
		t.Errorf("%d commits, want %d", got, n)
	}
	for i := range uint64(n) {
		for _, f := range projections {
			f.handles(records(s.change(apis[0], "P.Box", "a", i+1, fmt.Sprint(100+i))))
		}
	}
	if got := projections[0].row("P.Boxes", "a"); got != `{"id":"a","sum":66}` {
		t.Errorf("the row is %s, want the sum 66", got)
	}
}

// A poison commit is parked within one invocation and blocks only its stream in one read
// model.
func TestPoisonRecordBlocksOnlyItsStream(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1, poison, 3)
	s.fill(commands, "b", 10)
	f := s.start("projections/P", nil)
	box := func(stream string, n uint64, sequence string) map[string]any {
		return s.change(commands, "P.Box", stream, n, sequence)
	}
	f.handles(records(box("a", 1, "101"), box("a", 2, "102"), box("b", 1, "103"), box("a", 3, "104")))
	if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":1}` {
		t.Errorf("the row of the blocked stream is %s, want the commits before", got)
	}
	if got := f.row("P.Boxes", "b"); got != `{"id":"b","sum":10}` {
		t.Errorf("the row of the other stream is %s", got)
	}
	if got := f.row("P.BoxTotal", "all"); got != fmt.Sprintf(`{"id":"all","sum":%d}`, 14+poison) {
		t.Errorf("the row of the other read model is %s, want all commits", got)
	}
	if got := f.letters("P.Boxes"); len(got) != 1 || !strings.HasPrefix(got[0], "Commit a") {
		t.Errorf("parked are %q, want the one commit", got)
	}
	if m := f.out.last(t); m["Parked"] != 1.0 || m["Retries"] != 4.0 {
		t.Errorf("the metrics are %v, want four retries and one parked", m)
	}
}

// Invalid records of a stream do not affect other records.
func TestInvalidRecordsOfAStream(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1)
	s.fill(commands, "big", 5)
	s.fill(commands, "hurt", 6)
	f := s.start("projections/P", nil)
	keys := map[string]any{"id": map[string]any{"S": "gone"}, "sequenceNr": map[string]any{"N": "7"}}
	gone := s.record("P.Box", "301", map[string]any{"Keys": keys})
	damaged := s.record("P.Box", "302", map[string]any{
		"Keys": map[string]any{"id": map[string]any{"S": "hurt"}, "sequenceNr": map[string]any{"N": "1"}}, "NewImage": map[string]any{"id": map[string]any{"S": "x"}, "sequenceNr": map[string]any{"N": "1"}, "hello": map[string]any{"S": "world"}},
	})
	removed := s.change(commands, "P.Box", "a", 1, "303")
	removed["eventName"] = "REMOVE"
	imageless := s.record("P.Box", "304", map[string]any{"Keys": map[string]any{"id": map[string]any{"S": "big"}, "sequenceNr": map[string]any{"N": "1"}}})
	f.handles(records(gone, damaged, removed, imageless, s.change(commands, "P.Box", "a", 1, "305")))
	if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":1}` {
		t.Errorf("the row is %s although its record was valid", got)
	}
	if got := f.row("P.Boxes", "big"); got != `{"id":"big","sum":5}` {
		t.Errorf("the row is %s: a record without its image is read from the log", got)
	}
	if got := f.row("P.Boxes", "hurt"); got != `{"id":"hurt","sum":6}` {
		t.Errorf("the row is %s: a commit that is damaged in its record is read from the log", got)
	}
	if got := f.letters("P.Boxes"); len(got) != 2 {
		t.Errorf("parked are %q, want the missing commit and the removal", got)
	}
}

// Records are not parked while a store is unavailable. They are redelivered from the first
// failed one.
func TestRecordsAreRedeliveredWhileTheStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1, 2)
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Throttle, Operations: []string{"DynamoDB.UpdateItem"}, Probability: 1})
	f := s.start("projections/P", faults)
	event := records(s.change(commands, "P.Box", "a", 1, "101"), s.change(commands, "P.Box", "a", 2, "102"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if got, err := f.invokeIn(ctx, event); err != nil || !slices.Equal(got, []string{"101", "102"}) || ctx.Err() != nil {
		t.Errorf("failed are %q, %v, %v, want both, in time", got, err, ctx.Err())
	}
	if got := f.letters(""); len(got) != 0 {
		t.Errorf("parked are %q", got)
	}
	faults.Stop()
	f.handles(event)
	if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":3}` {
		t.Errorf("the row is %s", got)
	}
}

// missing is a transport for which a table of rows does not exist.
type missing struct{ table string }

func (m missing) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte(`"`+m.table+`"`)) {
		return awstest.Transport().RoundTrip(r)
	}
	answer := `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}`
	return &http.Response{
		StatusCode: http.StatusBadRequest, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(strings.NewReader(answer)), ContentLength: int64(len(answer)),
	}, nil
}

// A deployment creates the functions and the table of a new read model concurrently.
func TestRecordsAreNotParkedBeforeTheirTableExists(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1)
	event := records(s.change(commands, "P.Box", "a", 1, "101"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	f := s.start("projections/P", missing{s.Resource(naming.Rows, "P.Boxes")})
	if got, err := f.invokeIn(ctx, event); err != nil || !slices.Equal(got, []string{"101"}) {
		t.Errorf("failed are %q, %v, want the record", got, err)
	}
	if got := f.letters(""); len(got) != 0 {
		t.Errorf("parked are %q", got)
	}
	f = s.start("projections/P", nil)
	f.handles(event)
	if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":1}` {
		t.Errorf("the row is %s", got)
	}
}

// Ten commands of a batch become one commit, which changes more rows than the limit of a
// transaction.
func TestCommitExceedsTheRowsOfATransaction(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	var batch []map[string]any
	for i := range 10 {
		batch = append(batch, s.messageOf(naming.Commands, "P.Box", fmt.Sprint("m", i), "a", put("P.Box", "a", fmt.Sprint("c", i), many)))
	}
	commands.handles(records(batch...))
	event := records(s.change(commands, "P.Box", "a", 1, "101"))
	for range 2 {
		f := s.start("projections/P", nil)
		f.handles(event)
		if got := f.letters(""); len(got) != 0 {
			t.Errorf("parked are %q", got)
		}
		for e := range 10 {
			for i := range 12 {
				id := fmt.Sprint(message.Position{SequenceNr: 1, Index: e}, "-", i)
				if got, want := f.row("P.BoxTotal", id), `{"id":"`+id+`","sum":1}`; got != want {
					t.Errorf("the row is %s, want %s", got, want)
				}
			}
		}
	}
}

// outage is a transport that fails for four seconds from its first request.
type outage struct {
	*awstest.Faults
	once sync.Once
}

func (a *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	a.once.Do(func() { time.AfterFunc(4*time.Second, a.Stop) })
	return a.Faults.RoundTrip(r)
}

// A function waits for an unavailable store while it has time, to save the retries of its
// event source mapping.
func TestRecordsWaitForTheStoreInTheFunction(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1)
	f := s.start("projections/P", &outage{Faults: awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Throttle, Probability: 1})})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if got, err := f.invokeIn(ctx, records(s.change(commands, "P.Box", "a", 1, "101"))); err != nil || len(got) > 0 {
		t.Errorf("failed are %q, %v", got, err)
	}
	if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":1}` {
		t.Errorf("the row is %s", got)
	}
}

func TestUnknownSource(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1)
	f := s.start("projections/P", nil)
	unknown := s.change(commands, "P.Box", "a", 1, "100")
	unknown["eventSourceARN"] = "arn:aws:dynamodb:eu-central-1:000000000000:table/other/stream/2026-11-27T00:00:00.000"
	queue := s.messageOf(naming.Commands, "P.Box", "m1", "a", put("P.Box", "a", "c", 1))
	f.handles(records(unknown, s.change(commands, "P.Box", "a", 1, "101"), queue), "100", "m1")
	if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":1}` {
		t.Errorf("the row is %s although its record was valid", got)
	}
	if !strings.Contains(f.out.String(), "does not serve this source") {
		t.Error("the log does not report it")
	}
}

func TestInvalidEvents(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, name := range []string{"commands/P", "projections/P", "counters/P"} {
		f := s.start(name, nil)
		for _, bad := range []string{"", "null", "{}", `{"Records":[]}`, `{"Records":[1]}`, `{"Records":[{}]}`, "no JSON"} {
			if got, err := f.invoke(bad); err == nil {
				t.Errorf("%s accepted %q with the answer %q", name, bad, got)
			}
		}
		if m := f.out.last(t); m["Errors"] != 1.0 {
			t.Errorf("%s: the metrics are %v, want an error", name, m)
		}
	}
}

// A counter publishes a finish from the stream of its counts once.
func TestCounters(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	commands.handles(records(
		s.messageOf(naming.Commands, "P.Jar", "m1", "a", put("P.Jar", "a", "c1", 1)),
		s.messageOf(naming.Commands, "P.Jar", "m2", "a", put("P.Jar", "a", "c2", 4)),
	))
	s.start("relay/P", nil).handles(records(s.change(commands, "P.Jar", "a", 1, "100")))
	reactions := s.start("reactions/P", nil)
	came := s.received(naming.Collector, "P.Forward")
	reactions.handles(records(came...)) // counts 1 and 4, with a target of 3
	_ = s.received(naming.Commands, "P.Box")

	f := s.start("counters/P", nil)
	item := map[string]any{
		"counterId": map[string]any{"S": "a"}, "rev": map[string]any{"N": "3"}, "count": map[string]any{"N": "5"}, "target": map[string]any{"N": "3"},
		"reached": map[string]any{"N": "3"}, "finished": map[string]any{"N": "1"}, "pending": map[string]any{"S": `[{"ordinal":1,"target":3}]`},
	}
	change := func(sequence string, image map[string]any) map[string]any {
		r := s.record("P.Full", sequence, map[string]any{"Keys": map[string]any{"counterId": map[string]any{"S": "a"}}, "NewImage": image})
		r["eventSourceARN"] = s.StreamARN(naming.Counts, "P.Full")
		return r
	}
	event := records(change("100", item), change("101", map[string]any{"counterId": map[string]any{"S": "a"}}))
	f.handles(event)
	f.handles(event)
	if got := f.commits("P.Full", "a"); got != 1 {
		t.Errorf("the counter published %d finishes, want one", got)
	}
	if got := f.letters("P.Full"); len(got) != 1 {
		t.Errorf("parked are %q, want the invalid item", got)
	}
	state, err := f.counters["P.Full"].State(t.Context(), "a")
	if err != nil || state.Finished != 1 || state.Count != 5 {
		t.Errorf("the state is %+v, %v", state, err)
	}
	if left, err := f.counters["P.Full"].Pending(t.Context(), "a"); err != nil || len(left) != 0 {
		t.Errorf("the pending finishes are %v, %v", left, err)
	}
	reactions.handles(records(s.change(f, "P.Full", "a", 1, "900")))
	if sent := s.received(naming.Commands, "P.Box"); len(sent) != 1 || !strings.Contains(sent[0]["body"].(string), `"type":"Close"`) {
		t.Errorf("the commands %v were sent, want the command for the finished counter", sent)
	}
}
