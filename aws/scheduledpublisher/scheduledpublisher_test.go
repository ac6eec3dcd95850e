package scheduledpublisher_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/handed"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/scheduledpublisher"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// hold is the visibility timeout of the queues here: no test lasts as long.
const hold = 10 * time.Minute

// create makes a group and its queue, as a deployment would.
func create(t testing.TB, hold time.Duration) scheduledpublisher.Target {
	t.Helper()
	name := awstest.Stack()
	c := awstest.MiniStack(t).Clients(nil)
	if _, err := c.Scheduler.CreateScheduleGroup(t.Context(), &scheduler.CreateScheduleGroupInput{Name: &name}); err != nil {
		t.Fatal(err)
	}
	queue, err := c.SQS.CreateQueue(t.Context(), &sqs.CreateQueueInput{
		QueueName: &name, Attributes: map[string]string{"VisibilityTimeout": fmt.Sprint(int(hold.Seconds()))},
	})
	if err != nil {
		t.Fatal(err)
	}
	return scheduledpublisher.Target{
		Group: name, Queue: *queue.QueueUrl, QueueARN: "arn:aws:sqs:" + awstest.Region + ":" + awstest.Account + ":" + name,
		RoleARN:        "arn:aws:iam::" + awstest.Account + ":role/" + name,
		DeadLettersARN: "arn:aws:sqs:" + awstest.Region + ":" + awstest.Account + ":" + name + "dlq",
	}
}

// provider is a provider of schedules and of nothing else.
type provider struct {
	driver.Provider
	scheduler *scheduledpublisher.Scheduler
}

func (p *provider) OpenScheduler(context.Context) (driver.Scheduler, error) { return p.scheduler, nil }

func (p *provider) Close() error { return p.scheduler.Release(context.Background()) }

func fixture(t *testing.T, clients *awstest.Clients) *drivertest.Fixture {
	target := create(t, hold)
	open := func() *provider {
		return &provider{scheduler: scheduledpublisher.Open(clients.Scheduler, clients.SQS, target, &scheduledpublisher.Options{Hold: hold})}
	}
	p := open()
	return &drivertest.Fixture{
		// A firing whose schedule is held waits a second for its next chance.
		Provider: p, Lag: 1500 * time.Millisecond, Patience: time.Minute,
		Reopen: func(t *testing.T) driver.Provider {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = open()
			return p
		},
	}
}

// The emulator fires when the time has come; nobody can have it come sooner, so that
// what the suite says of times is not shown here but for times that have passed. As
// in production the clients try again: it closes connections while it answers, now
// and then.
func TestScheduler(t *testing.T) {
	t.Parallel()
	drivertest.TestScheduler(t, func(t *testing.T) *drivertest.Fixture { return fixture(t, awstest.MiniStack(t).Patient(nil)) })
}

// But for what is no fault to the suite: a message that is sent again is one more, as
// a standard queue may make of any, and of an answer to ReceiveMessage that is lost
// it holds the messages until their visibility timeout ends.
func TestSchedulerUnderFaults(t *testing.T) {
	t.Parallel()
	after := awstest.After("Scheduler.*", "SQS.DeleteMessageBatch", "SQS.ChangeMessageVisibilityBatch")
	awstest.UnderFaults(t, 1, drivertest.TestScheduler, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixture(t, awstest.MiniStack(t).Patient(faults))
	}, append(after, awstest.Before()...)...)
}

// open returns schedules through a transport.
func open(t *testing.T, transport http.RoundTripper, opts *scheduledpublisher.Options) (*scheduledpublisher.Scheduler, scheduledpublisher.Target) {
	t.Helper()
	if opts == nil {
		opts = &scheduledpublisher.Options{}
	}
	opts.Hold = cmp.Or(opts.Hold, hold)
	target := create(t, opts.Hold)
	c := awstest.MiniStack(t).Clients(transport)
	return scheduledpublisher.Open(c.Scheduler, c.SQS, target, opts), target
}

func wait(d time.Duration) { <-time.NewTimer(d).C }

// next receives until there is something.
func next(t *testing.T, s *scheduledpublisher.Scheduler) driver.Delivery[driver.Firing] {
	t.Helper()
	for range 3000 {
		batch, err := s.Receive(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Deliveries) > 0 {
			return batch.Deliveries[0]
		}
		wait(20 * time.Millisecond)
	}
	t.Fatal("nothing fires")
	return driver.Delivery[driver.Firing]{}
}

func TestServiceIsToldWhatItTakes(t *testing.T) {
	t.Parallel()
	s, target := open(t, nil, nil)
	for name, c := range map[string]struct{ expression, zone, want, wantZone string }{
		"at":      {"at(2100-06-01T10:00:00)", "Europe/Berlin", "at(2100-06-01T08:00:00)", "UTC"},
		"seconds": {"at(2100-06-01T10:00:01)", "", "at(2100-06-01T10:01:00)", "UTC"}, // never early
		"rate":    {"rate(5 minutes)", "", "rate(5 minutes)", "UTC"},
		"cron":    {"cron(0 10 ? * MON-FRI *)", "Asia/Tokyo", "cron(0 10 ? * MON-FRI *)", "Asia/Tokyo"},
	} {
		if err := s.Create(t.Context(), driver.Schedule{Name: name, Expression: c.expression, Zone: c.zone, Payload: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
		out, err := awstest.MiniStack(t).Clients(nil).Scheduler.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String(naming.ScheduleName(name)), GroupName: &target.Group})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(out.ScheduleExpression) != c.want || aws.ToString(out.ScheduleExpressionTimezone) != c.wantZone ||
			out.FlexibleTimeWindow.Mode != "OFF" || out.State != "ENABLED" || aws.ToString(out.Target.Arn) != target.QueueARN || aws.ToString(out.Target.RoleArn) != target.RoleARN ||
			aws.ToString(out.Target.DeadLetterConfig.Arn) != target.DeadLettersARN {
			t.Errorf("%s is %+v", name, out)
		}
	}
}

// A time that is near does not wait for the service's next minute, and is not early.
func TestATimeThatIsNearComesInTime(t *testing.T) {
	t.Parallel()
	s, _ := open(t, nil, nil)
	due := time.Now().UTC().Truncate(time.Second).Add(3 * time.Second)
	if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: due.Format("at(2006-01-02T15:04:05)"), Payload: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if d := next(t, s); !d.Message.Due.Equal(due) || time.Now().Before(due) {
		t.Errorf("what is due at %v fires as of %v at %v", due, d.Message.Due, time.Now())
	}
}

// An input is a template: what a name or payload has of its attributes stays as it
// is.
func TestPayloadsAreNoTemplates(t *testing.T) {
	t.Parallel()
	s, target := open(t, nil, nil)
	for i, payload := range []string{`"<aws.scheduler.scheduled-time> <aws.scheduler.execution-id>"`, "\"\xff\"", ` { "a" : 1 } `, ""} {
		want := driver.Schedule{Name: fmt.Sprintf("<aws.scheduler.attempt-number>%d", i), Expression: "rate(1 day)", Payload: json.RawMessage(payload)}
		if err := s.Create(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		out, err := awstest.MiniStack(t).Clients(nil).Scheduler.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String(naming.ScheduleName(want.Name)), GroupName: &target.Group})
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(aws.ToString(out.Target.Input), "<aws."); n != 2 {
			t.Errorf("the input has %d attributes, want 2: %s", n, aws.ToString(out.Target.Input))
		}
		list, err := s.List(t.Context())
		if err != nil || len(list) != 1 || string(list[0].Payload) != payload || list[0].Name != want.Name {
			t.Errorf("got %+v, %v, want %+v", list, err, want)
		}
		if err := s.Delete(t.Context(), want.Name); err != nil {
			t.Fatal(err)
		}
	}
}

// What the service sends, by hand: the emulator takes as long as the service.
func TestFiringsOfARecurringSchedule(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	s, target := open(t, nil, &scheduledpublisher.Options{Now: clock.Now})
	if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "rate(5 hours)", Payload: json.RawMessage(`{"n":1}`)}); err != nil {
		t.Fatal(err)
	}
	c := awstest.MiniStack(t).Clients(nil)
	out, err := c.Scheduler.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String(naming.ScheduleName("a")), GroupName: &target.Group})
	if err != nil {
		t.Fatal(err)
	}
	start := clock.Now()
	send := func(hours int) {
		body := strings.ReplaceAll(aws.ToString(out.Target.Input), "<aws.scheduler.scheduled-time>", start.Add(time.Duration(hours)*time.Hour).Format(time.RFC3339))
		if _, err := c.SQS.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &target.Queue, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(20*time.Hour + time.Minute) // a pause
	for _, hours := range []int{5, 10, 15, 20, 20} {
		send(hours)
	}
	d := next(t, s)
	if due := d.Message.Due.Sub(start).Hours(); due < 15 || string(d.Message.Payload) != `{"n":1}` {
		t.Errorf("it fires %+v, %v hours on", d.Message, due)
	}
	if err := s.Settle(t.Context(), []driver.Settlement{{ID: d.ID}}); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		if batch, err := s.Receive(t.Context(), 10); err != nil || len(batch.Deliveries) > 0 {
			t.Fatalf("what was missed fires again: %v, %v", batch.Deliveries, err)
		}
		wait(10 * time.Millisecond)
	}
	clock.Advance(5 * time.Hour)
	send(25)
	if d := next(t, s); d.Message.Due.Sub(start) != 25*time.Hour {
		t.Errorf("the next one is of %v", d.Message.Due)
	}
}

// lag has the service not see a schedule for its first looks, and the queue not wait
// with what is to wait.
type lag struct {
	looks int
	waits *[]string // how long messages were to wait
}

var waiting = regexp.MustCompile(`"VisibilityTimeout":\d+`)

func (l *lag) RoundTrip(r *http.Request) (*http.Response, error) {
	switch awstest.Operation(r) {
	case "Scheduler.GetSchedule":
		if l.looks--; l.looks >= 0 {
			return &http.Response{
				StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
				Header: http.Header{"Content-Type": {"application/json"}, "X-Amzn-Errortype": {"ResourceNotFoundException"}},
				Body:   io.NopCloser(strings.NewReader(`{"Message":"Schedule a does not exist."}`)),
			}, nil
		}
	case "SQS.ChangeMessageVisibilityBatch":
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		*l.waits = append(*l.waits, waiting.FindString(string(body)))
		body = waiting.ReplaceAll(body, []byte(`"VisibilityTimeout":0`))
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return awstest.Transport().RoundTrip(r)
}

// What is due at once is in the queue as soon as its schedule is stored, which need
// not be to be seen by then.
func TestAFiringIsNotLostThatIsFasterThanItsSchedule(t *testing.T) {
	t.Parallel()
	for looks, comes := range []bool{true, true, true, false} {
		t.Run(fmt.Sprint(looks), func(t *testing.T) {
			t.Parallel()
			var waits []string
			s, target := open(t, &lag{looks, &waits}, nil)
			if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "at(2020-01-01T00:00:00)", Payload: json.RawMessage(`{}`)}); err != nil {
				t.Fatal(err)
			}
			if comes {
				if d := next(t, s); d.Message.Name != "a" {
					t.Errorf("%s fires", d.Message.Name)
				}
			} else {
				for end := time.Now().Add(time.Minute); left(t, target) > 0 && time.Now().Before(end); {
					if batch, err := s.Receive(t.Context(), 1); err != nil || len(batch.Deliveries) > 0 {
						t.Fatalf("what is deleted fires: %v, %v", batch.Deliveries, err)
					}
				}
			}
			if want := slices.Repeat([]string{`"VisibilityTimeout":5`}, min(looks, 2)); !slices.Equal(waits, want) {
				t.Errorf("it waited for %v, want %v", waits, want)
			}
		})
	}
}

// left is how many messages a queue has, held or not.
func left(t *testing.T, target scheduledpublisher.Target) int {
	t.Helper()
	out, err := awstest.MiniStack(t).Clients(nil).SQS.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: &target.Queue, AttributeNames: []sqstypes.QueueAttributeName{"All"},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"} {
		m, err := strconv.Atoi(out.Attributes[name])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	return n
}

// A function does not wait for a schedule that is not to be seen yet, but has the
// queue do so, and knows by the queue's count how often it did.
func TestAFunctionHandsBackWhatIsFasterThanItsSchedule(t *testing.T) {
	t.Parallel()
	for looks, comes := range []bool{true, true, true, false} {
		messages := handed.New[string](nil)
		var waits []string
		s, target := open(t, &lag{looks, &waits}, &scheduledpublisher.Options{Messages: messages})
		if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "at(2020-01-01T00:00:00)", Payload: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
		out, err := awstest.MiniStack(t).Clients(nil).SQS.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &target.Queue, WaitTimeSeconds: 5})
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("%d messages, %v", len(out.Messages), err)
		}
		fired := 0
		for attempt := 1; attempt <= 4; attempt++ {
			messages.Add(handed.Message[string]{ID: "m", Attempt: attempt, Message: aws.ToString(out.Messages[0].Body)})
			began := time.Now()
			err := handed.Work(t.Context(), s, time.Now, 16, 2*time.Second, func(int) time.Duration { return time.Millisecond },
				func(_ context.Context, d []driver.Delivery[driver.Firing]) ([]driver.Settlement, error) {
					fired += len(d)
					return []driver.Settlement{{ID: d[0].ID}}, nil
				})
			back := messages.Take()
			if again := attempt <= min(looks, 2); err != nil || again != (len(back) == 1 && back[0].After > 2*time.Second) || !again && len(back) > 0 || time.Since(began) > 2*time.Second {
				t.Errorf("not seen %d times, attempt %d: %v is left after %v, %v", looks, attempt, back, time.Since(began), err)
			}
			if len(back) == 0 {
				break
			}
		}
		if fired == 1 != comes {
			t.Errorf("not seen %d times: it fired %d times", looks, fired)
		}
	}
}

func TestForeignMessagesAreParked(t *testing.T) {
	t.Parallel()
	letters, err := memory.New(nil).OpenDeadLetters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, target := open(t, nil, &scheduledpublisher.Options{DeadLetters: letters})
	for _, body := range []string{"no JSON", "{}", `{"name":"a","generation":"g","expression":"never"}`, `{"name":"a","generation":"g","expression":"rate(1 day)","due":"today"}`} {
		if _, err := awstest.MiniStack(t).Clients(nil).SQS.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &target.Queue, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Create(t.Context(), driver.Schedule{Name: "good", Expression: "at(2020-01-01T00:00:00)", Payload: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if d := next(t, s); d.Message.Name != "good" {
		t.Errorf("%s fires", d.Message.Name)
	}
	for range 300 {
		if _, err := s.Receive(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		list, err := letters.List(t.Context(), "Scheduler", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 4 {
			return
		}
		wait(10 * time.Millisecond)
	}
	t.Error("the messages are not parked")
}

func TestTooLargeScheduleIsNotSent(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	s, _ := open(t, requests, nil)
	var large *driver.TooLargeError
	err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "rate(1 day)", Payload: json.RawMessage(`"` + strings.Repeat("x", scheduledpublisher.MaxInputBytes) + `"`)})
	if !errors.As(err, &large) || requests.Of() != 0 {
		t.Errorf("got %v after %d requests, want too large", err, requests.Of())
	}
}

// The deployment keeps declared schedules that have a zone in the same group.
func TestSchedulesOfTheDeploymentAreNotListed(t *testing.T) {
	t.Parallel()
	s, target := open(t, nil, nil)
	if err := s.Create(t.Context(), driver.Schedule{Name: "ours", Expression: "rate(1 day)", Payload: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	create := func(name, text string) {
		t.Helper()
		if _, err := awstest.MiniStack(t).Clients(nil).Scheduler.CreateSchedule(t.Context(), &scheduler.CreateScheduleInput{
			Name: &name, GroupName: &target.Group, ScheduleExpression: aws.String("rate(1 day)"),
			FlexibleTimeWindow: &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff},
			Target:             &types.Target{Arn: &target.QueueARN, RoleArn: &target.RoleARN, Input: &text},
		}); err != nil {
			t.Fatal(err)
		}
	}
	create("declared", `{"schedule":"declared/Shop.Tick","due":"<aws.scheduler.scheduled-time>"}`)
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 || list[0].Name != "ours" {
		t.Errorf("the list is %v, %v", list, err)
	}
	create("foreign", `{"hello":"world"}`)
	if list, err := s.List(t.Context()); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("with one of nobody's the list is %v, %v", list, err)
	}
}

func TestMissingGroupIsUnavailable(t *testing.T) {
	t.Parallel()
	c := awstest.MiniStack(t).Clients(nil)
	target := create(t, hold)
	target.Group = awstest.Stack()
	s := scheduledpublisher.Open(c.Scheduler, c.SQS, target, nil)
	if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "rate(1 day)", Payload: json.RawMessage(`{}`)}); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

// Who creates and settles until told of success: each schedule fires, and is gone
// when it was settled.
func TestNothingIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := awstest.NewFaults(
		nil, seed,
		awstest.Rule{Fault: awstest.Throttle, Probability: 0.05},
		awstest.Rule{Fault: awstest.Internal, Probability: 0.05},
		awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.05},
		awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.05},
		awstest.Rule{Fault: awstest.TimeoutAfter, Probability: 0.02},
		awstest.Rule{Fault: awstest.Reset, Probability: 0.05},
	)
	s, _ := open(t, faults, &scheduledpublisher.Options{Hold: time.Second}) // what is lost on its way is held that long
	until := func(f func() error) {
		for {
			err := f()
			if err == nil {
				return
			}
			if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
				t.Fatalf("%v (seed %d)", err, seed)
			}
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	want := map[string]string{}
	for i := range 30 {
		name := fmt.Sprintf("s%d", random.IntN(12))
		want[name] = fmt.Sprintf(`{"n":%d}`, i)
		until(func() error {
			return s.Create(t.Context(), driver.Schedule{Name: name, Expression: "at(2020-01-01T00:00:00)", Payload: json.RawMessage(want[name])})
		})
	}
	for end := time.Now().Add(time.Minute); len(want) > 0 && time.Now().Before(end); {
		var batch driver.Batch[driver.Firing]
		until(func() (err error) { batch, err = s.Receive(t.Context(), 10); return err })
		for _, d := range batch.Deliveries {
			if string(d.Message.Payload) != want[d.Message.Name] {
				t.Errorf("%s fires with %s, want %s (seed %d)", d.Message.Name, d.Message.Payload, want[d.Message.Name], seed)
			}
			again := random.IntN(4) == 0
			until(func() error { return s.Settle(t.Context(), []driver.Settlement{{ID: d.ID, Retry: again}}) })
			if !again {
				delete(want, d.Message.Name)
			}
		}
		wait(time.Millisecond)
	}
	faults.Stop()
	if list, err := s.List(t.Context()); len(want) > 0 || err != nil || len(list) > 0 {
		t.Errorf("%d did not fire, and %d are left: %v (seed %d, faults %v)", len(want), len(list), err, seed, faults.Injected())
	}
}
