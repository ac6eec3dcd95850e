package commandtopic_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/aws/commandtopic"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// open returns an empty topic through a transport, nil being the plain one, and the URL
// of its queue.
func open(t *testing.T, transport http.RoundTripper) (*commandtopic.Topic, string) {
	t.Helper()
	_, url := awstest.NewQueue(t, wiring.Trigger{Source: naming.Commands, Component: "Test.Thing"})
	return commandtopic.Open(awstest.MiniStack(t).Clients(transport).SQS, url), url
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

// ids takes n commands from a queue and returns their ids in order.
func ids(t *testing.T, url string, n int) []string {
	t.Helper()
	var got []string
	for _, body := range awstest.Bodies(t, url, n) {
		c, err := commandtopic.Decode(body, "")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Meta.ID)
	}
	return got
}

func TestTenCommandsAreOneRequest(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	topic, _ := open(t, requests)
	if err := errors.Join(topic.Send(t.Context(), commands(10)), topic.Send(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	if n := requests.Of("SQS.SendMessageBatch"); n != 1 || requests.Of() != 1 {
		t.Errorf("the requests are %v, want one", requests.All())
	}
}

func TestWhatIsRefusedIsNoRequest(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	topic, _ := open(t, requests)
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
	requests := awstest.NewCounter(nil)
	topic, url := open(t, requests)
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
	if got := strings.Join(ids(t, url, 6), ""); got != "abcdef" {
		t.Errorf("the order of the commands is %s", got)
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

// Each entry of a batch has its own error. An entry that the answer does not mention was
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
	topic, _ := open(t, stripMD5(through))
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
	topic, url := open(t, through)
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
	if got := ids(t, url, 1); len(some.Failed) != 3 || got[0] != "second1" {
		t.Errorf("%v failed, got %v", some.Failed, got)
	}
}

// A failed request ends the call; earlier commands stay sent.
func TestALostRequestNamesAllThatFollows(t *testing.T) {
	t.Parallel()
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Throttle, Operations: []string{"SQS.SendMessageBatch"}, Calls: []int{2}})
	requests := awstest.NewCounter(faults)
	topic, _ := open(t, requests)
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
	client := awstest.MiniStack(t).Clients(nil).SQS
	url := awstest.MiniStack(t).Endpoint + "/" + awstest.Account + "/missing.fifo"
	if err := commandtopic.Open(client, url).Send(t.Context(), commands(1)); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "missing.fifo") {
		t.Errorf("send: %v", err)
	}
}

// Whatever fails before or after its effect: every command that is sent until it is
// acknowledged comes once, in its order.
func TestNothingAcknowledgedIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
	topic, url := open(t, faults)
	const entities, each = 5, 20
	var sending sync.WaitGroup
	for e := range entities {
		sending.Go(func() {
			for n := 1; n <= each; n++ {
				c := command(fmt.Sprintf("e%d", e), fmt.Sprintf("e%d#%d", e, n))
				for err := topic.Send(t.Context(), []driver.Command{c}); err != nil; err = topic.Send(t.Context(), []driver.Command{c}) {
					if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
						t.Errorf("send: %v (seed %d)", err, seed)
						return
					}
				}
			}
		})
	}
	sending.Wait()
	last := map[int]int{}
	for _, id := range ids(t, url, entities*each) {
		var e, n int
		if _, err := fmt.Sscanf(id, "e%d#%d", &e, &n); err != nil || n != last[e]+1 {
			t.Errorf("got %s, want number %d, %v (seed %d)", id, last[e]+1, err, seed)
		}
		last[e] = n
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
			if other, err := commandtopic.Decode(body+" no JSON", group); err == nil || other.Meta.ID == c.Meta.ID {
				t.Errorf("%q and another body have the id %q", body, c.Meta.ID)
			}
			return
		}
		if err := errors.Join(driver.CheckID("entity", c.Entity), driver.CheckID("command", c.Meta.ID)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	})
}
