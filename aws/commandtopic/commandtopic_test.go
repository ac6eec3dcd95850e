package commandtopic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/commandtopic"
	"github.com/reventless-go/reventless/aws/internal/awsqueues"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// topics is a provider of command topics and of nothing else.
type topics struct {
	driver.Provider
	store *awsqueues.Store
	open  func(queue string) *commandtopic.Topic

	mu     sync.Mutex
	opened []*commandtopic.Topic
}

func (p *topics) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	queue := p.store.Name("commands", name)
	if _, _, err := p.store.Queue(ctx, queue); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.open(queue)
	p.opened = append(p.opened, t)
	return t, nil
}

func (p *topics) Limits() driver.Limits {
	return driver.Limits{MaxCommandBytes: commandtopic.MaxCommandBytes}
}

func (p *topics) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, t := range p.opened {
		err = errors.Join(err, t.Release(context.Background()))
	}
	p.opened = nil
	return err
}

func fixture(t *testing.T, client *sqs.Client) *drivertest.Fixture {
	store := awsqueues.NewStore(awstest.MiniStack(t).Clients(nil), 10*time.Minute)
	provider := func() *topics {
		return &topics{store: store, open: func(queue string) *commandtopic.Topic { return commandtopic.Open(client, queue, nil) }}
	}
	now := provider()
	return &drivertest.Fixture{Provider: now, Reopen: func(t *testing.T) driver.Provider {
		if err := now.Close(); err != nil {
			t.Error(err)
		}
		now = provider()
		return now
	}}
}

func TestCommandTopic(t *testing.T) {
	t.Parallel()
	drivertest.TestCommandTopic(t, func(t *testing.T) *drivertest.Fixture {
		return fixture(t, awstest.MiniStack(t).Clients(nil).SQS)
	})
}

func TestCommandTopicUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 3, drivertest.TestCommandTopic, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixture(t, awstest.MiniStack(t).Patient(faults).SQS)
	}, awstest.Mix()...)
}

// open returns an empty topic through a transport, nil being the plain one.
func open(t *testing.T, transport http.RoundTripper, visibility time.Duration) (topic *commandtopic.Topic, store *awsqueues.Store, url string) {
	t.Helper()
	if transport == nil {
		transport = awstest.Transport()
	}
	store = awsqueues.NewStore(awstest.MiniStack(t).Clients(awstest.Transport()), visibility)
	url, _, err := store.Queue(t.Context(), store.Name("commands", "Test.Thing"))
	if err != nil {
		t.Fatal(err)
	}
	return commandtopic.Open(awstest.MiniStack(t).Clients(transport).SQS, url, nil), store, url
}

func command(entity, id string) driver.Command {
	return driver.Command{Target: "Test.Thing", Entity: entity, Type: "Do", Version: 1, Data: json.RawMessage(`{}`), Meta: driver.Meta{ID: id}}
}

func commands(n int) []driver.Command {
	var cs []driver.Command
	for i := range n {
		cs = append(cs, command(fmt.Sprintf("e%d", i%3), fmt.Sprintf("c%d", i)))
	}
	return cs
}

func TestTenCommandsAreOneRequestEachWay(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(awstest.Transport())
	topic, _, _ := open(t, requests, time.Minute)
	if err := topic.Send(t.Context(), commands(10)); err != nil {
		t.Fatal(err)
	}
	batch, err := topic.Receive(t.Context(), 64)
	if err != nil || len(batch.Deliveries) != 10 {
		t.Fatalf("got %d deliveries, %v", len(batch.Deliveries), err)
	}
	ends := []driver.Settlement{{ID: "unknown"}}
	for i, d := range batch.Deliveries {
		ends = append(ends, driver.Settlement{ID: d.ID, Retry: i >= 5})
	}
	if err := topic.Settle(t.Context(), ends); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"SQS.SendMessageBatch": 1, "SQS.ReceiveMessage": 1, "SQS.DeleteMessageBatch": 1, "SQS.ChangeMessageVisibilityBatch": 1}
	if got := requests.All(); !maps.Equal(got, want) {
		t.Errorf("the requests are %v, want %v", got, want)
	}
}

func TestWhatEndsNothingIsNoRequest(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(awstest.Transport())
	topic, _, _ := open(t, requests, time.Minute)
	if err := errors.Join(topic.Send(t.Context(), nil), topic.Settle(t.Context(), nil), topic.Settle(t.Context(), []driver.Settlement{{ID: "unknown"}})); err != nil {
		t.Fatal(err)
	}
	large := command("e", "large")
	large.Data = json.RawMessage(`"` + strings.Repeat("x", commandtopic.MaxCommandBytes) + `"`)
	if err := topic.Send(t.Context(), []driver.Command{large, command("", "bad")}); !errors.Is(err, driver.ErrTooLarge) || !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if n := requests.Of(); n != 0 {
		t.Errorf("the requests are %v, want none", requests.All())
	}
}

// Requests are filled in order and by bytes: none is over the limit, and an
// oversized command takes no part.
func TestRequestsCountBytes(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(awstest.Transport())
	topic, _, _ := open(t, requests, time.Minute)
	sized := func(id string, n int) driver.Command {
		c := command("e", id)
		c.Data = json.RawMessage(`"` + strings.Repeat("x", n) + `"`)
		return c
	}
	err := topic.Send(t.Context(), []driver.Command{
		sized("a", 400<<10), sized("b", 400<<10), // one request
		sized("large", 1<<20),
		sized("c", 400<<10), sized("d", 600<<10), // one request
		sized("e", 1<<20-200), // one request
		sized("f", 200),       // one request
	})
	var some *driver.BatchError
	if !errors.As(err, &some) || len(some.Failed) != 1 || !errors.Is(some.Failed["large"], driver.ErrTooLarge) {
		t.Errorf("got %v, want that one is too large", err)
	}
	if got := requests.All(); got["SQS.SendMessageBatch"] != 4 || len(got) != 1 {
		t.Errorf("the requests are %v, want 4 batches", got)
	}
	var ids []string
	for len(ids) < 6 {
		batch, err := topic.Receive(t.Context(), 10)
		if err != nil || len(batch.Deliveries) == 0 {
			t.Fatalf("got %v, then %v", ids, err)
		}
		for _, d := range batch.Deliveries {
			ids = append(ids, d.Message.Meta.ID)
			if err := topic.Settle(t.Context(), []driver.Settlement{{ID: d.ID}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(ids, ""); got != "abcdef" {
		t.Errorf("the commands came as %s", got)
	}
}

// A message that is no command reaches the engine, which parks it, and nothing
// beside it suffers.
func TestWhatIsNoCommandIsDelivered(t *testing.T) {
	t.Parallel()
	topic, store, url := open(t, nil, time.Minute)
	bodies := []string{"no JSON", `{"target":"Test.Thing","entity":"","meta":{"id":"x"}}`, `{"entity":7}`, "[]", `null`}
	for i, body := range bodies {
		if err := store.Put(t.Context(), url, body, "g", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := topic.Send(t.Context(), commands(1)); err != nil {
		t.Fatal(err)
	}
	batch, err := topic.Receive(t.Context(), 10)
	if err != nil || len(batch.Deliveries) != len(bodies)+1 {
		t.Fatalf("got %d deliveries, %v", len(batch.Deliveries), err)
	}
	ids := map[string]bool{}
	for i, body := range bodies {
		c := batch.Deliveries[i].Message
		ids[c.Meta.ID] = true
		if string(c.Data) != body || c.Target != "" || c.Entity != "g" || driver.CheckID("command", c.Meta.ID) != nil {
			t.Errorf("%s is delivered as %+v", body, c)
		}
	}
	if len(ids) != len(bodies) {
		t.Errorf("the ids %v are not one for each of %d", slices.Collect(maps.Keys(ids)), len(bodies))
	}
	if c := batch.Deliveries[len(bodies)].Message; c.Meta.ID != "c0" {
		t.Errorf("the good command is %+v", c)
	}
}

// tap sees the bodies of requests and may answer them.
type tap struct {
	see func(operation string, body []byte) (status int, answer string)
}

func (f tap) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	if status, answer := f.see(awstest.Operation(r), body); status != 0 {
		return &http.Response{
			StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(strings.NewReader(answer)), ContentLength: int64(len(answer)),
		}, nil
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return awstest.Transport().RoundTrip(r)
}

// Waits are whole seconds, up, and end before 12 hours after the message came.
func TestRetriesWaitUpToTwelveHours(t *testing.T) {
	t.Parallel()
	var waits []int
	through := tap{func(operation string, body []byte) (int, string) {
		var in struct {
			Entries []struct{ VisibilityTimeout int }
		}
		if operation == "SQS.ChangeMessageVisibilityBatch" && json.Unmarshal(body, &in) == nil {
			for _, e := range in.Entries {
				waits = append(waits, e.VisibilityTimeout)
			}
		}
		return 0, ""
	}}
	clock := drivertest.NewClock()
	_, _, url := open(t, nil, time.Minute)
	topic := commandtopic.Open(awstest.MiniStack(t).Clients(through).SQS, url, &commandtopic.Options{Now: clock.Now})
	for i := range 5 {
		if err := topic.Send(t.Context(), []driver.Command{command(fmt.Sprint(i), "c")}); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := topic.Receive(t.Context(), 10)
	if err != nil || len(batch.Deliveries) != 5 {
		t.Fatalf("got %d deliveries, %v", len(batch.Deliveries), err)
	}
	clock.Advance(time.Hour)
	var ends []driver.Settlement
	for i, after := range []time.Duration{0, -time.Second, 1500 * time.Millisecond, 10 * time.Hour, 24 * time.Hour} {
		ends = append(ends, driver.Settlement{ID: batch.Deliveries[i].ID, Retry: true, After: after})
	}
	if err := topic.Settle(t.Context(), ends); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 0, 2, 36000, 11*3600 - 60}; !slices.Equal(waits, want) {
		t.Errorf("the waits are %v, want %v", waits, want)
	}
}

// What one entry of a batch met is its own; what its answer does not mention was
// not accepted.
func TestEntriesFailByThemselves(t *testing.T) {
	t.Parallel()
	through := tap{func(operation string, _ []byte) (int, string) {
		if operation != "SQS.SendMessageBatch" {
			return 0, ""
		}
		return 200, `{"Successful":[{"Id":"4","MessageId":"m","MD5OfMessageBody":""}],"Failed":[
			{"Id":"3","Code":"InvalidMessageContents","SenderFault":true},
			{"Id":"0","Code":"InternalError","SenderFault":false},
			{"Id":"1","Code":"RequestThrottled","SenderFault":true},
			{"Id":"2","Code":"Strange","SenderFault":true}]}`
	}}
	// The checksum of an answer is looked at: it is of no body here.
	topic, _, _ := open(t, stripMD5(through), time.Minute)
	err := topic.Send(t.Context(), []driver.Command{command("a", "0"), command("b", "1"), command("c", "2"), command("d", "3"), command("e", "4"), command("f", "5")})
	var some *driver.BatchError
	if !errors.As(err, &some) {
		t.Fatalf("got %v, want a BatchError", err)
	}
	for id, want := range map[string]error{"0": driver.ErrUnavailable, "1": driver.ErrThrottled, "2": nil, "3": driver.ErrInvalid, "5": driver.ErrUnavailable} {
		got := some.Failed[id]
		for _, class := range []error{driver.ErrUnavailable, driver.ErrThrottled, driver.ErrInvalid, driver.ErrConflict} {
			if got == nil || errors.Is(got, class) != (want != nil && errors.Is(want, class)) {
				t.Errorf("command %s: got %v, want class %v", id, got, want)
			}
		}
	}
	if len(some.Failed) != 5 {
		t.Errorf("%d failed, want 5: %v", len(some.Failed), err)
	}
}

// stripMD5 is through whose answers have no checksums.
func stripMD5(through tap) tap {
	return tap{func(operation string, body []byte) (int, string) {
		status, answer := through.see(operation, body)
		return status, strings.ReplaceAll(answer, `,"MD5OfMessageBody":""`, "")
	}}
}

// After a failure nothing of its entity overtakes it in later requests, and other
// entities go on.
func TestNothingOvertakesAFailedCommand(t *testing.T) {
	t.Parallel()
	calls := 0
	through := tap{func(operation string, body []byte) (int, string) {
		if operation != "SQS.SendMessageBatch" {
			return 0, ""
		}
		if calls++; calls > 1 {
			return 0, ""
		}
		var done []string
		for i := 1; i < 10; i++ {
			done = append(done, fmt.Sprintf(`{"Id":"%d","MessageId":"m"}`, i))
		}
		return 200, `{"Successful":[` + strings.Join(done, ",") + `],"Failed":[{"Id":"0","Code":"InternalError","SenderFault":false}]}`
	}}
	topic, _, _ := open(t, through, time.Minute)
	var cs []driver.Command
	for i := range 10 {
		cs = append(cs, command(fmt.Sprintf("e%d", i), "first"+fmt.Sprint(i)))
	}
	cs = append(cs, command("e0", "second0"), command("e1", "second1"), command("e0", "third0"))
	err := topic.Send(t.Context(), cs)
	var some *driver.BatchError
	if !errors.As(err, &some) {
		t.Fatalf("got %v, want a BatchError", err)
	}
	for _, id := range []string{"first0", "second0", "third0"} {
		if !errors.Is(some.Failed[id], driver.ErrUnavailable) {
			t.Errorf("%s: got %v, want unavailable", id, some.Failed[id])
		}
	}
	batch, err := topic.Receive(t.Context(), 10)
	if err != nil || len(some.Failed) != 3 || len(batch.Deliveries) != 1 || batch.Deliveries[0].Message.Meta.ID != "second1" {
		t.Errorf("%v failed, %+v came, %v", some.Failed, batch.Deliveries, err)
	}
}

// A request that fails ends the sending; what was sent before stays sent.
func TestALostRequestNamesAllThatFollows(t *testing.T) {
	t.Parallel()
	faults := awstest.NewFaults(awstest.Transport(), 1, awstest.Rule{Fault: awstest.Throttle, Operations: []string{"SQS.SendMessageBatch"}, Calls: []int{2}})
	requests := awstest.NewCounter(faults)
	topic, _, _ := open(t, requests, time.Minute)
	err := topic.Send(t.Context(), commands(35))
	var some *driver.BatchError
	if !errors.As(err, &some) || len(some.Failed) != 25 || !errors.Is(some.Failed["c10"], driver.ErrThrottled) || some.Failed["c9"] != nil {
		t.Fatalf("got %v, want that 25 are throttled", err)
	}
	if n := requests.Of("SQS.SendMessageBatch"); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestMissingQueueIsUnavailable(t *testing.T) {
	t.Parallel()
	client := awstest.MiniStack(t).Clients(awstest.Transport()).SQS
	for _, queue := range []string{"missing.fifo", awstest.MiniStack(t).Endpoint + "/" + awstest.Account + "/missing.fifo"} {
		topic := commandtopic.Open(client, queue, nil)
		if err := topic.Send(t.Context(), commands(1)); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("send: %v", err)
		}
		if _, err := topic.Receive(t.Context(), 1); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "missing.fifo") {
			t.Errorf("receive: %v", err)
		}
	}
}

// A worker waits for commands, and not beyond its context.
func TestReceiveWaitsWhenItMay(t *testing.T) {
	t.Parallel()
	var waits []int
	through := tap{func(operation string, body []byte) (int, string) {
		var in struct{ WaitTimeSeconds int }
		if operation == "SQS.ReceiveMessage" && json.Unmarshal(body, &in) == nil {
			waits = append(waits, in.WaitTimeSeconds)
			return 200, `{}`
		}
		return 0, ""
	}}
	_, _, url := open(t, nil, time.Minute)
	receive := func(wait, deadline time.Duration) {
		t.Helper()
		ctx := t.Context()
		if deadline > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, deadline)
			defer cancel()
		}
		topic := commandtopic.Open(awstest.MiniStack(t).Clients(through).SQS, url, &commandtopic.Options{Wait: wait})
		if _, err := topic.Receive(ctx, 1); err != nil {
			t.Error(err)
		}
	}
	receive(0, 0)
	receive(5*time.Second, 0)
	receive(time.Hour, 0)
	receive(20*time.Second, 10*time.Second+900*time.Millisecond)
	receive(20*time.Second, 900*time.Millisecond)
	if want := []int{0, 5, 20, 9, 0}; !slices.Equal(waits, want) {
		t.Errorf("the waits are %v, want %v", waits, want)
	}
}

// Whatever fails before or after its effect: every acknowledged command is
// handled, and a handler that knows what it did does nothing twice or out of turn.
func TestNothingAcknowledgedIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			faults := awstest.NewFaults(
				awstest.Transport(), seed,
				awstest.Rule{Fault: awstest.Throttle, Probability: 0.1},
				awstest.Rule{Fault: awstest.Internal, Probability: 0.05},
				awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.03},
				awstest.Rule{Fault: awstest.Reset, Probability: 0.05},
				awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.03},
			)
			_, _, url := open(t, nil, time.Second) // what is lost on its way is held that long
			topic := commandtopic.Open(awstest.MiniStack(t).Clients(faults).SQS, url, &commandtopic.Options{Wait: time.Second})
			const entities, each = 5, 20
			var sending sync.WaitGroup
			for e := range entities {
				sending.Go(func() {
					for n := 1; n <= each; n++ {
						c := command(fmt.Sprintf("e%d", e), fmt.Sprintf("c%d", n))
						for err := topic.Send(t.Context(), []driver.Command{c}); err != nil; err = topic.Send(t.Context(), []driver.Command{c}) {
							if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
								t.Errorf("send: %v", err)
								return
							}
						}
					}
				})
			}
			handled := map[string]int{} // the last command of each entity
			done := 0
			r := rand.New(rand.NewPCG(seed, 1))
			for end := time.Now().Add(90 * time.Second); done < entities*each; {
				if time.Now().After(end) {
					t.Fatalf("%d of %d commands were handled: %v (faults %v)", done, entities*each, handled, faults.Injected())
				}
				batch, err := topic.Receive(t.Context(), 1+r.IntN(10))
				if err != nil {
					continue
				}
				retrying := map[string]bool{}
				var ends []driver.Settlement
				for _, d := range batch.Deliveries {
					c := d.Message
					var n int
					if _, err := fmt.Sscanf(c.Meta.ID, "c%d", &n); err != nil {
						t.Fatal(err)
					}
					retrying[c.Entity] = retrying[c.Entity] || r.IntN(10) == 0
					if n > handled[c.Entity]+1 && !retrying[c.Entity] {
						t.Errorf("of %s command %d came where %d is due", c.Entity, n, handled[c.Entity]+1)
					}
					if !retrying[c.Entity] && n == handled[c.Entity]+1 {
						handled[c.Entity] = n
						done++
					}
					ends = append(ends, driver.Settlement{ID: d.ID, Retry: retrying[c.Entity]})
				}
				_ = topic.Settle(t.Context(), ends) // they come again
			}
			sending.Wait()
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "x", "null", "{}", `{"entity":"e","meta":{"id":"c"}}`, `{"entity":"e","meta":{"id":"c"},"data":1e400}`, `{"entity":"\ud800","meta":{"id":"c"}}`, "\xff"} {
		f.Add(s, "g")
	}
	f.Fuzz(func(t *testing.T, body, group string) {
		c, err := commandtopic.Decode(body, group)
		if err != nil {
			if !errors.Is(err, driver.ErrInvalid) || string(c.Data) != body || c.Entity != group || c.Target != "" || driver.CheckID("command", c.Meta.ID) != nil {
				t.Errorf("%q is %+v, %v", body, c, err)
			}
			return
		}
		if err := errors.Join(driver.CheckID("entity", c.Entity), driver.CheckID("command", c.Meta.ID)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// Who settles too late is told nothing, and takes nothing from who has the
// message now.
func TestHoldsThatEndedAreHarmless(t *testing.T) {
	t.Parallel()
	_, _, url := open(t, nil, time.Second)
	client := awstest.MiniStack(t).Clients(awstest.Transport()).SQS
	late, prompt := commandtopic.Open(client, url, nil), commandtopic.Open(client, url, &commandtopic.Options{Wait: 10 * time.Second})
	if err := late.Send(t.Context(), commands(2)); err != nil {
		t.Fatal(err)
	}
	first, err := late.Receive(t.Context(), 10)
	if err != nil || len(first.Deliveries) != 2 {
		t.Fatalf("got %d deliveries, %v", len(first.Deliveries), err)
	}
	second, err := prompt.Receive(t.Context(), 10)
	if err != nil || len(second.Deliveries) != 2 || second.Deliveries[0].Attempt != 2 {
		t.Fatalf("got %+v, %v", second.Deliveries, err)
	}
	if err := late.Settle(t.Context(), []driver.Settlement{{ID: first.Deliveries[0].ID}, {ID: first.Deliveries[1].ID, Retry: true}}); err != nil {
		t.Errorf("settle after the hold ended: %v", err)
	}
	if err := prompt.Settle(t.Context(), []driver.Settlement{{ID: second.Deliveries[0].ID}, {ID: second.Deliveries[1].ID, Retry: true}}); err != nil {
		t.Error(err)
	}
	third, err := prompt.Receive(t.Context(), 10)
	if err != nil || len(third.Deliveries) != 1 || third.Deliveries[0].Message.Meta.ID != "c1" {
		t.Errorf("then came %+v, %v", third.Deliveries, err)
	}
}

// An entry that could not be ended through no fault of its own is ended again,
// and after too many times named. One whose hold has ended is done, as a FIFO
// queue puts it; what the answer does not mention is not.
func TestEntriesAreEndedByThemselves(t *testing.T) {
	t.Parallel()
	var asked []int
	recovers := true
	through := tap{func(operation string, body []byte) (int, string) {
		var in struct{ Entries []json.RawMessage }
		if operation != "SQS.DeleteMessageBatch" || json.Unmarshal(body, &in) != nil {
			return 0, ""
		}
		asked = append(asked, len(in.Entries))
		switch {
		case len(in.Entries) == 5:
			return 200, `{"Successful":[{"Id":"4"}],"Failed":[
				{"Id":"0","Code":"InternalError","SenderFault":false},
				{"Id":"1","Code":"InvalidParameterValue","SenderFault":true},
				{"Id":"2","Code":"AccessDenied","SenderFault":true}]}`
		case recovers:
			return 200, `{"Successful":[{"Id":"0"},{"Id":"1"}]}`
		default:
			return 200, `{"Failed":[{"Id":"0","Code":"InternalError","SenderFault":false},{"Id":"1","Code":"InternalError","SenderFault":false}]}`
		}
	}}
	for _, recovers = range []bool{true, false} {
		asked = nil
		topic, _, _ := open(t, through, time.Minute)
		if err := topic.Send(t.Context(), commands(5)); err != nil {
			t.Fatal(err)
		}
		batch, err := topic.Receive(t.Context(), 10)
		if err != nil || len(batch.Deliveries) != 5 {
			t.Fatalf("got %d deliveries, %v", len(batch.Deliveries), err)
		}
		var ends []driver.Settlement
		for _, d := range batch.Deliveries {
			ends = append(ends, driver.Settlement{ID: d.ID})
		}
		var some *driver.BatchError
		if err := topic.Settle(t.Context(), ends); !errors.As(err, &some) || some.Failed[ends[2].ID] == nil || errors.Is(some.Failed[ends[2].ID], driver.ErrUnavailable) {
			t.Fatalf("got %v, want that the third failed for good", err)
		}
		if recovers {
			if want := []int{5, 2}; len(some.Failed) != 1 || !slices.Equal(asked, want) {
				t.Errorf("%v failed, with requests of %v, want %v", some.Failed, asked, want)
			}
			continue
		}
		if len(some.Failed) != 3 || len(asked) != 5 || !errors.Is(some.Failed[ends[0].ID], driver.ErrUnavailable) || !errors.Is(some.Failed[ends[3].ID], driver.ErrUnavailable) {
			t.Errorf("%v failed, with requests of %v", some.Failed, asked)
		}
	}
}
