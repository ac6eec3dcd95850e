package scheduledpublisher_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/aws/scheduledpublisher"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// open returns schedules through a transport.
func open(t *testing.T, transport http.RoundTripper, now func() time.Time) (*scheduledpublisher.Scheduler, scheduledpublisher.Target) {
	t.Helper()
	d, url := awstest.NewQueue(t, wiring.Trigger{Source: naming.Timers})
	if err := d.Schedules(); err != nil {
		t.Fatal(err)
	}
	target := scheduledpublisher.Target{
		Group: d.Resource(naming.Schedules, ""), Queue: url, QueueARN: awstest.ARN("sqs", d.Resource(naming.Timers, "")),
		RoleARN: "arn:aws:iam::" + awstest.Account + ":role/r", DeadLettersARN: awstest.ARN("sqs", d.Resource(naming.TimersDLQ, "")),
	}
	c := awstest.MiniStack(t).Clients(transport)
	return scheduledpublisher.Open(c.Scheduler, c.SQS, target, now), target
}

// next takes the next message of the queue.
func next(t *testing.T, target scheduledpublisher.Target) scheduledpublisher.Message {
	t.Helper()
	return decoded(t, awstest.Bodies(t, target.Queue, 1)[0])
}

func decoded(t *testing.T, body string) scheduledpublisher.Message {
	t.Helper()
	m, err := scheduledpublisher.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSchedulesAreStoredInTheFormOfTheService(t *testing.T) {
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

// A firing that is due soon does not wait for the service's next minute and is not early.
func TestFiringsThatAreDueSoonAreOnTime(t *testing.T) {
	t.Parallel()
	s, target := open(t, nil, nil)
	due := time.Now().UTC().Truncate(time.Second).Add(3 * time.Second)
	if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: due.Format("at(2006-01-02T15:04:05)"), Payload: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if m := next(t, target); !m.Firing.Due.Equal(due) || time.Now().Before(due) {
		t.Errorf("what is due at %v fires as of %v at %v", due, m.Firing.Due, time.Now())
	}
}

// An input is a template: context attributes in a name or payload are not replaced.
func TestPayloadsAreNotTemplates(t *testing.T) {
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

// The test makes the service's messages itself: the emulator waits as long as the service.
// Missed times are one firing or two, in either order of delivery.
func TestFiringsOfARecurringSchedule(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	s, target := open(t, nil, clock.Now)
	if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "rate(5 hours)", Payload: json.RawMessage(`{"n":1}`)}); err != nil {
		t.Fatal(err)
	}
	out, err := awstest.MiniStack(t).Clients(nil).Scheduler.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String(naming.ScheduleName("a")), GroupName: &target.Group})
	if err != nil {
		t.Fatal(err)
	}
	start := clock.Now()
	counts := func(hours, attempt int) bool {
		t.Helper()
		m := decoded(t, strings.ReplaceAll(aws.ToString(out.Target.Input), "<aws.scheduler.scheduled-time>", start.Add(time.Duration(hours)*time.Hour).Format(time.RFC3339)))
		if m.Firing.Due.Sub(start).Hours() != float64(hours) || string(m.Firing.Payload) != `{"n":1}` {
			t.Errorf("after %d hours it fires %+v", hours, m.Firing)
		}
		counts, end, err := s.Counts(t.Context(), m, attempt)
		if err != nil || end.Retry {
			t.Errorf("after %d hours: %+v, %v", hours, end, err)
		}
		if counts {
			if err := s.Done(t.Context(), m); err != nil {
				t.Error(err)
			}
		}
		return counts
	}
	clock.Advance(20*time.Hour + time.Minute) // a pause
	for _, c := range []struct {
		hours, attempt int
		want           bool
	}{{5, 1, false}, {10, 1, false}, {10, 2, true}, {15, 1, false}, {20, 1, false}, {20, 2, false}} {
		if got := counts(c.hours, c.attempt); got != c.want {
			t.Errorf("attempt %d of what was due after %d hours counts: %t", c.attempt, c.hours, got)
		}
	}
	clock.Advance(5 * time.Hour)
	if !counts(25, 1) {
		t.Error("the next one does not count")
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the schedules are %v, %v", list, err)
	}
}

// lag hides a schedule from the first looks.
type lag struct{ looks int }

func (l *lag) RoundTrip(r *http.Request) (*http.Response, error) {
	if awstest.Operation(r) == "Scheduler.GetSchedule" {
		if l.looks--; l.looks >= 0 {
			return &http.Response{
				StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
				Header: http.Header{"Content-Type": {"application/json"}, "X-Amzn-Errortype": {"ResourceNotFoundException"}},
				Body:   io.NopCloser(strings.NewReader(`{"Message":"Schedule a does not exist."}`)),
			}, nil
		}
	}
	return awstest.Transport().RoundTrip(r)
}

// The message of a schedule that is due at once may be delivered before the schedule is
// visible. The queue delays the message and counts its deliveries.
func TestFiringBeforeItsScheduleIsVisibleIsNotLost(t *testing.T) {
	t.Parallel()
	for looks, comes := range []bool{true, true, true, false} {
		s, target := open(t, &lag{looks}, nil)
		if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "at(2020-01-01T00:00:00)", Payload: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
		m := next(t, target)
		for attempt := 1; ; attempt++ {
			counts, end, err := s.Counts(t.Context(), m, attempt)
			if err != nil {
				t.Fatal(err)
			}
			if again := attempt <= min(looks, 2); again != end.Retry || again && end.After != 5*time.Second {
				t.Errorf("not seen %d times, attempt %d: %+v", looks, attempt, end)
			}
			if !end.Retry {
				if counts != comes {
					t.Errorf("not seen %d times: it counts: %t", looks, counts)
				}
				break
			}
		}
	}
}

func TestForeignMessagesAreInvalid(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"no JSON", "{}", `{"name":"a","generation":"g","expression":"never"}`, `{"name":"a","generation":"g","expression":"rate(1 day)","due":"today"}`} {
		if m, err := scheduledpublisher.Decode(body); !errors.Is(err, driver.ErrInvalid) && !errors.Is(err, driver.ErrDamaged) {
			t.Errorf("%s is %+v, %v", body, m, err)
		}
	}
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
	if list, err := s.List(t.Context()); !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("with a foreign schedule the list is %v, %v", list, err)
	}
}

func TestMissingGroupIsUnavailable(t *testing.T) {
	t.Parallel()
	_, target := open(t, nil, nil)
	target.Group = awstest.Stack()
	c := awstest.MiniStack(t).Clients(nil)
	s := scheduledpublisher.Open(c.Scheduler, c.SQS, target, nil)
	if err := s.Create(t.Context(), driver.Schedule{Name: "a", Expression: "rate(1 day)", Payload: json.RawMessage(`{}`)}); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}
