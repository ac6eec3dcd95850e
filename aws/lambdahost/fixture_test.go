package lambdahost

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// The domain of the tests: numbers are put into jars, and an automation forwards them to
// boxes.

type typed interface{ message.Typed }

type (
	// Put adds N. The note must not appear in logs.
	Put struct {
		N    int    `json:"n"`
		Note string `json:"note"`
	}
	// Refuse is rejected.
	Refuse struct{}
	// Explode panics.
	Explode struct{}
	// Close closes a box.
	Close struct{}

	Added  struct{ N int }
	Closed struct{}
)

func (Put) MessageType() string     { return "Put" }
func (Refuse) MessageType() string  { return "Refuse" }
func (Explode) MessageType() string { return "Explode" }
func (Close) MessageType() string   { return "Close" }
func (Added) MessageType() string   { return "Added" }
func (Closed) MessageType() string  { return "Closed" }

type sum struct{ Sum, Count int }

// never blocks the import of a stuck file.
var never chan struct{}

// poison is the number on which projections fail.
const poison = 666

// many is the number that changes a dozen rows of BoxTotal.
const many = 500

type row struct {
	ID  string `json:"id"`
	Sum int    `json:"sum"`
}

// app is the App under test. Jars have three consumers, which need a topic. Boxes have two,
// which read the stream.
func app() *reventless.App {
	decide := func(_ sum, c typed) ([]typed, error) {
		switch c := c.(type) {
		case Put:
			return []typed{Added{c.N}}, nil
		case Refuse:
			return nil, message.Reject("No")
		case Explode:
			panic("a secret")
		case Close:
			return []typed{Closed{}}, nil
		}
		return nil, nil
	}
	evolve := func(s sum, e typed) sum {
		if a, ok := e.(Added); ok {
			return sum{s.Sum + a.N, s.Count + 1}
		}
		return s
	}
	thing := func(name string) *aggregate.Aggregate[sum, typed, typed] {
		return aggregate.New(aggregate.Spec[sum, typed, typed]{
			Name: name, Commands: message.NewSet[typed](Put{}, Refuse{}, Explode{}, Close{}), Events: message.NewSet[typed](Added{}, Closed{}),
			Decide: decide, Evolve: evolve, Access: access.Rules{access.Authenticated, access.Roles("Clerk").For(Close{})},
		})
	}
	jar, box := thing("Jar"), thing("Box")
	sums := func(name string, own bool, of *aggregate.Aggregate[sum, typed, typed], key func(string) string) *readmodel.ReadModel[row] {
		return readmodel.New(readmodel.Spec[row]{
			Name: name, OwnRow: own,
			Projections: readmodel.Projections[row]{readmodel.On(of, func(e message.Event[typed]) readmodel.Changes[row] {
				a, ok := e.Data.(Added)
				if !ok {
					return nil
				}
				if a.N == poison && name == "Boxes" {
					panic("a secret")
				}
				if a.N == many && name == "BoxTotal" {
					var all readmodel.Changes[row]
					for i := range 12 {
						id := fmt.Sprint(e.Position, "-", i)
						all = append(all, readmodel.UpdateOrCreate(id, row{ID: id}, func(r *row) { r.Sum++ })...)
					}
					return all
				}
				id := key(e.EntityID)
				return readmodel.UpdateOrCreate(id, row{ID: id}, func(r *row) { r.Sum += a.N })
			})},
		})
	}
	self := func(id string) string { return id }
	one := func(string) string { return "all" }
	full := counter.New(counter.Spec{Name: "Full"})
	files, out := task.NewBucket(task.BucketSpec{Name: "Files"}), task.NewBucket(task.BucketSpec{Name: "Out"})
	return reventless.New("test", plugin.New(plugin.Spec{Name: "P", Heartbeat: 5 * time.Minute, Components: plugin.Components{
		jar, box, full, files, out,
		sums("Jars", true, jar, self), sums("Total", false, jar, one),
		sums("Boxes", true, box, self), sums("BoxTotal", false, box, one),
		automation.New(automation.Spec{
			Name: "Forward",
			Rules: automation.Rules{
				automation.On(jar, func(e message.Event[typed]) message.Actions {
					a, ok := e.Data.(Added)
					if !ok {
						return nil
					}
					actions := message.Actions{full.Count(e.EntityID, e.Position.String(), int64(a.N)), box.To(e.EntityID, Put{N: a.N})}
					if a.N == 1 {
						actions = append(actions, full.AddTarget(e.EntityID, "one", 3), schedule.Create("later-"+e.EntityID, schedule.At(e.RecordedAt.Add(-time.Hour)), box.To(e.EntityID, Put{N: 100})))
					}
					return actions
				}),
				automation.On(full, func(e message.Event[counter.Finished]) message.Actions {
					return message.Actions{box.To(e.EntityID, Close{})}
				}),
			},
			Sends: plugin.Components{full, box},
		}),
		task.New(task.Spec{
			Name: "Import", Bucket: files, Sends: plugin.Components{jar},
			Created: func(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
				file, err := files.Open(env).Get(ctx, o.Key)
				if err != nil {
					return nil, err
				}
				defer file.Close()
				body, err := io.ReadAll(file)
				if err != nil {
					return nil, err
				}
				if string(body) == "stuck" {
					<-never
				}
				n, err := strconv.Atoi(string(body))
				if err != nil {
					return nil, fmt.Errorf("not a number")
				}
				return message.Actions{jar.To(o.Key, Put{N: n})}, nil
			},
		}),
		task.New(task.Spec{
			Name: "Report", Rate: schedule.Every(time.Hour), Uses: plugin.Components{out},
			Run: func(ctx context.Context, env plugin.Env, due time.Time) (message.Actions, error) {
				return nil, out.Open(env).Put(ctx, due.Format(time.RFC3339), strings.NewReader("fine"))
			},
		}),
		schedule.New(schedule.Spec{Name: "Tick", Rate: schedule.Every(time.Minute), Send: jar.To("ticked", Put{N: 5})}),
	}}))
}

// stack has the resources of the App on emulators.
type stack struct {
	*awstest.Deployment
	t     *testing.T
	app   *reventless.App
	spent func(operation string, c *types.ConsumedCapacity)
	now   func() time.Time // the clock of functions that are started; nil is the real one
}

func newStack(t *testing.T) *stack {
	t.Helper()
	a := app()
	return &stack{Deployment: awstest.Deploy(t, a.Topology(), awstest.DynamoDB(t), awstest.MiniStack(t)), t: t, app: a}
}

// function is a function that runs in this process.
type function struct {
	*handler
	t   *testing.T
	out *output
}

// output is the standard output of a function.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the written lines, each a JSON object.
func (o *output) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(o.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q is not JSON: %v", line, err)
		}
		lines = append(lines, l)
	}
	return lines
}

// last returns the last line of metrics.
func (o *output) last(t *testing.T) map[string]any {
	t.Helper()
	lines := o.lines(t)
	for _, l := range slices.Backward(lines) {
		if l["_aws"] != nil {
			return l
		}
	}
	t.Fatal("no line has metrics")
	return nil
}

// metrics returns the names of the declared metrics of the last line.
func (o *output) metrics(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range o.last(t)["_aws"].(map[string]any)["CloudWatchMetrics"].([]any)[0].(map[string]any)["Metrics"].([]any) {
		names = append(names, m.(map[string]any)["Name"].(string))
	}
	return names
}

// start starts a function that uses the emulators through transport.
func (s *stack) start(name string, transport http.RoundTripper) *function {
	s.t.Helper()
	f, err := wiring.Parse(s.app.Topology(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	env := s.Environment(f)
	cfg := s.Others.Config(transport)
	cfg.BaseEndpoint = nil
	out := &output{}
	h, err := newHandler(s.app, func(name string) string { return env[name] }, out, &Options{AWS: &cfg, spent: s.spent, now: s.now})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = h.host.Close() })
	return &function{h, s.t, out}
}

// invoke invokes a function and returns the failed ids.
func (f *function) invoke(payload string) ([]string, error) {
	f.t.Helper()
	return f.invokeIn(f.t.Context(), payload)
}

func (f *function) invokeIn(ctx context.Context, payload string) ([]string, error) {
	f.t.Helper()
	answer, err := f.Invoke(lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: "request-1"}), []byte(payload))
	if err != nil {
		return nil, err
	}
	var a struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		f.t.Fatalf("the answer %s: %v", answer, err)
	}
	var ids []string
	for _, x := range a.BatchItemFailures {
		ids = append(ids, x.ItemIdentifier)
	}
	return ids, nil
}

// handles invokes a function and checks the failed ids.
func (f *function) handles(payload string, failing ...string) {
	f.t.Helper()
	got, err := f.invoke(payload)
	if err != nil || !slices.Equal(got, failing) {
		f.t.Errorf("%s: failed are %q, %v, want %q\n%s", f.function, got, err, failing, f.out)
	}
}

// messageOf returns a record of the event of a queue.
func (s *stack) messageOf(kind naming.Kind, component, id, group, body string) map[string]any {
	return map[string]any{
		"messageId": id, "receiptHandle": "receipt-" + id, "body": body, "eventSource": "aws:sqs", "awsRegion": awstest.Region,
		"eventSourceARN": awstest.ARN("sqs", s.Resource(kind, component)),
		"attributes": map[string]string{
			"ApproximateReceiveCount": "1", "SentTimestamp": fmt.Sprint(time.Now().Add(-time.Second).UnixMilli()), "MessageGroupId": group,
		},
	}
}

func records(messages ...map[string]any) string {
	text, err := json.Marshal(map[string]any{"Records": messages})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// put returns the body of a Put command.
func put(aggregate, entity, id string, n int) string {
	return commandOf(aggregate, entity, id, "Put", fmt.Sprintf(`{"n":%d}`, n))
}

func commandOf(aggregate, entity, id, kind, data string) string {
	text, err := json.Marshal(driver.Command{
		Target: aggregate, Entity: entity, Type: kind, Version: 1, Data: json.RawMessage(data), Meta: driver.Meta{ID: id, TraceParent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// change returns the stream record of a commit in the log.
func (s *stack) change(f *function, log, stream string, sequenceNr uint64, sequence string) map[string]any {
	s.t.Helper()
	l, _ := f.host.EventLog(log)
	for c, err := range l.Read(s.t.Context(), stream, sequenceNr-1, 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		return s.image(log, sequence, c)
	}
	s.t.Fatalf("%s has no commit %d of %q", log, sequenceNr, stream)
	return nil
}

func (s *stack) image(log, sequence string, c driver.Commit) map[string]any {
	str := func(v string) map[string]any { return map[string]any{"S": v} }
	num := func(v any) map[string]any { return map[string]any{"N": fmt.Sprint(v)} }
	stored, err := driver.StoreCommit(c)
	if err != nil {
		s.t.Fatal(err)
	}
	keys := map[string]any{"id": str(c.Stream), "sequenceNr": num(c.SequenceNr)}
	image := map[string]any{
		"id": str(c.Stream), "sequenceNr": num(c.SequenceNr), "at": num(c.RecordedAt.UnixNano()), "head": str(stored.Head), "events": str(stored.Events),
	}
	return s.record(log, sequence, map[string]any{"Keys": keys, "NewImage": image})
}

func (s *stack) record(log, sequence string, dynamoDB map[string]any) map[string]any {
	dynamoDB["SequenceNumber"], dynamoDB["ApproximateCreationDateTime"] = sequence, time.Now().Add(-2*time.Second).Unix()
	return map[string]any{
		"eventID": sequence, "eventName": "INSERT", "eventSource": "aws:dynamodb", "awsRegion": awstest.Region, "dynamodb": dynamoDB,
		"eventSourceARN": s.StreamARN(naming.Log, log),
	}
}

// received receives and deletes all messages of a queue and returns them as records of an
// event.
func (s *stack) received(kind naming.Kind, component string) []map[string]any {
	s.t.Helper()
	client := s.Others.Clients(nil).SQS
	url := s.QueueURL(kind, component)
	var messages []map[string]any
	for {
		out, err := client.ReceiveMessage(s.t.Context(), &sdk.ReceiveMessageInput{
			QueueUrl: &url, MaxNumberOfMessages: 10, MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameAll},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return messages
		}
		for _, m := range out.Messages {
			r := s.messageOf(kind, component, aws.ToString(m.MessageId), m.Attributes["MessageGroupId"], aws.ToString(m.Body))
			r["receiptHandle"] = aws.ToString(m.ReceiptHandle)
			messages = append(messages, r)
			if _, err := client.DeleteMessage(s.t.Context(), &sdk.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// row returns a row of a read model, or "none".
func (f *function) row(readModel, id string) string {
	f.t.Helper()
	db, _ := f.host.QueryDb(readModel)
	r, err := db.LoadRow(f.t.Context(), driver.Key{ID: id})
	if err != nil {
		return "none"
	}
	return string(r.Data)
}

// letters returns the dead letters of a component: kind, stream and reason.
func (f *function) letters(component string) []string {
	f.t.Helper()
	list, err := f.host.DeadLetters().List(f.t.Context(), component, "", 100)
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, l := range list {
		out = append(out, cmp.Or(string(l.Kind), "?")+" "+l.Stream+": "+l.Reason)
	}
	return out
}

// commits returns the number of commits of a stream.
func (f *function) commits(log, stream string) int {
	f.t.Helper()
	l, _ := f.host.EventLog(log)
	n := 0
	for _, err := range l.Read(f.t.Context(), stream, 0, 0) {
		if err != nil {
			f.t.Fatal(err)
		}
		n++
	}
	return n
}

// blocking is a transport that blocks requests of an operation until their context ends.
type blocking struct{ operation string }

func (b blocking) RoundTrip(r *http.Request) (*http.Response, error) {
	if awstest.Operation(r) == b.operation {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return awstest.Transport().RoundTrip(r)
}
