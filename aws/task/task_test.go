package task_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/task"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// hold is the visibility timeout of the queues here: no test lasts as long.
const hold = 10 * time.Minute

// create makes a bucket and its queue, as a deployment would. The emulator tells
// of folders, lifecycles and tests as S3 does; messages that it would not send are
// sent by hand.
func create(ctx context.Context, t testing.TB, name string, hold time.Duration) (queueURL string) {
	t.Helper()
	c := awstest.MiniStack(t).Clients(nil)
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: awstest.Region},
	}); err != nil {
		t.Fatal(err)
	}
	queue, err := c.SQS.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: &name, Attributes: map[string]string{"VisibilityTimeout": fmt.Sprint(int(hold.Seconds()))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.S3.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{
		Bucket: &name, NotificationConfiguration: &s3types.NotificationConfiguration{QueueConfigurations: []s3types.QueueConfiguration{{
			QueueArn: aws.String("arn:aws:sqs:" + awstest.Region + ":" + awstest.Account + ":" + name),
			Events:   []s3types.Event{"s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"},
		}}},
	}); err != nil {
		t.Fatal(err)
	}
	return *queue.QueueUrl
}

// provider is a provider of buckets and of nothing else.
type provider struct {
	driver.Provider
	store *store

	mu     sync.Mutex
	opened map[string]*task.Bucket
}

// store is what a provider finds again when it is opened anew.
type store struct {
	t       *testing.T
	clients *awstest.Clients // under test
	stack   string

	mu     sync.Mutex
	queues map[string]string
}

func (p *provider) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.opened[name]; b != nil {
		return b, nil
	}
	sum := sha256.Sum256([]byte(name))
	bucket := p.store.stack + "-" + hex.EncodeToString(sum[:8])
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if p.store.queues[name] == "" {
		p.store.queues[name] = create(ctx, p.store.t, bucket, hold)
	}
	p.opened[name] = task.Open(p.store.clients.S3, p.store.clients.SQS, bucket, p.store.queues[name], &task.Options{Hold: hold})
	return p.opened[name], nil
}

func (p *provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, b := range p.opened {
		errs = append(errs, b.Release(context.Background()))
	}
	return errors.Join(errs...)
}

func fixture(t *testing.T, clients *awstest.Clients) *drivertest.Fixture {
	s := &store{t: t, clients: clients, stack: awstest.Stack(), queues: map[string]string{}}
	p := &provider{store: s, opened: map[string]*task.Bucket{}}
	return &drivertest.Fixture{
		// An event whose key is held waits a second for its next chance.
		Provider: p, Lag: 1500 * time.Millisecond, Patience: time.Minute,
		Reopen: func(t *testing.T) driver.Provider {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = &provider{store: s, opened: map[string]*task.Bucket{}}
			return p
		},
	}
}

// As in production the clients try again: the emulator closes connections while it
// answers, now and then.
func TestBucket(t *testing.T) {
	t.Parallel()
	drivertest.TestBucket(t, func(t *testing.T) *drivertest.Fixture { return fixture(t, awstest.MiniStack(t).Patient(nil)) })
}

// But for what is no fault to the suite: an object that is put again is one change
// more, and of an answer to ReceiveMessage that is lost a standard queue holds the
// messages until their visibility timeout ends.
func TestBucketUnderFaults(t *testing.T) {
	t.Parallel()
	after := awstest.After("S3.GetObject", "S3.ListObjectsV2", "S3.DeleteObject", "S3.CreateMultipartUpload", "S3.UploadPart", "SQS.DeleteMessageBatch", "SQS.ChangeMessageVisibilityBatch")
	awstest.UnderFaults(t, 1, drivertest.TestBucket, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixture(t, awstest.MiniStack(t).Patient(faults))
	}, append(after, awstest.Before()...)...)
}

// open returns a bucket through a transport, and the URL of its queue.
func open(t *testing.T, transport http.RoundTripper, opts *task.Options) (*task.Bucket, string) {
	t.Helper()
	if opts == nil {
		opts = &task.Options{}
	}
	opts.Hold = cmp.Or(opts.Hold, hold)
	name := awstest.Stack()
	queue := create(t.Context(), t, name, opts.Hold)
	c := awstest.MiniStack(t).Clients(transport)
	return task.Open(c.S3, c.SQS, name, queue, opts), queue
}

func TestCosts(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	b, _ := open(t, requests, nil)
	cost := func(what string, want map[string]int, f func() error) {
		t.Helper()
		requests.Reset()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := requests.All(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s was the requests %v, want %v", what, got, want)
		}
	}
	put := func(size int) func() error {
		return func() error {
			return b.Put(t.Context(), "a", io.LimitReader(endless{}, int64(size)))
		}
	}
	cost("a put", map[string]int{"S3.PutObject": 1}, put(8<<20-1))
	cost("a large put", map[string]int{"S3.CreateMultipartUpload": 1, "S3.UploadPart": 3, "S3.CompleteMultipartUpload": 1}, put(20<<20))
	cost("a get", map[string]int{"S3.GetObject": 1}, func() error {
		r, o, err := b.Get(t.Context(), "a")
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, r)
		if n != 20<<20 || o.Size != n {
			t.Errorf("%d bytes of %d came back", n, o.Size)
		}
		return errors.Join(err, r.Close())
	})
	cost("a list", map[string]int{"S3.ListObjectsV2": 1}, func() error { _, err := b.List(t.Context(), "", "", 10); return err })
	cost("a delete", map[string]int{"S3.DeleteObject": 1}, func() error { return b.Delete(t.Context(), "a") })
}

// endless is a body that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// A body that fails in its second part leaves nothing, and no parts that cost.
func TestFailedUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	b, queue := open(t, nil, nil)
	bad := errors.New("the body failed")
	for _, size := range []int64{8 << 20, 9 << 20, 17 << 20} {
		err := b.Put(t.Context(), "a", io.MultiReader(io.LimitReader(endless{}, size), failing{bad}))
		if !errors.Is(err, bad) {
			t.Errorf("a body that fails after %d bytes: %v", size, err)
		}
	}
	if _, _, err := b.Get(t.Context(), "a"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("the object: %v, want not found", err)
	}
	name := queue[strings.LastIndexByte(queue, '/')+1:]
	out, err := awstest.MiniStack(t).Clients(nil).S3.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	if err != nil || len(out.Uploads) != 0 {
		t.Errorf("%d uploads are left: %v", len(out.Uploads), err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestMissingBucketIsNoMissingObject(t *testing.T) {
	t.Parallel()
	c := awstest.MiniStack(t).Clients(nil)
	b := task.Open(c.S3, c.SQS, awstest.Stack(), "", nil)
	if _, _, err := b.Get(t.Context(), "a"); !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Get: %v, want unavailable", err)
	}
	if _, err := b.Receive(t.Context(), 1); !errors.Is(err, driver.ErrUnsupported) {
		t.Errorf("Receive without a queue: %v, want unsupported", err)
	}
}

// send puts bodies into a queue, as S3 would.
func send(t *testing.T, queue string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if _, err := awstest.MiniStack(t).Clients(nil).SQS.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
}

func record(name, key, sequencer string) string {
	return fmt.Sprintf(`{"eventVersion":"2.6","eventSource":"aws:s3","eventName":%q,"eventTime":"2026-01-01T00:00:00.000Z","s3":{"bucket":{"name":"b"},"object":{"key":%q,"sequencer":%q}}}`, name, url.QueryEscape(key), sequencer)
}

func records(rs ...string) string { return `{"Records":[` + strings.Join(rs, ",") + `]}` }

// next receives until n events came.
func next(t *testing.T, b *task.Bucket, n, max int) []driver.Delivery[driver.ObjectEvent] {
	t.Helper()
	var got []driver.Delivery[driver.ObjectEvent]
	for range 400 {
		batch, err := b.Receive(t.Context(), max)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, batch.Deliveries...)
		if len(got) >= n {
			return got
		}
		wait(10 * time.Millisecond)
	}
	t.Fatalf("%d of %d events came: %v", len(got), n, got)
	return nil
}

func wait(d time.Duration) { <-time.NewTimer(d).C }

// left returns how many messages a queue has, held or not.
func left(t *testing.T, queue string) string {
	t.Helper()
	out, err := awstest.MiniStack(t).Clients(nil).SQS.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: &queue, AttributeNames: []sqstypes.QueueAttributeName{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes["ApproximateNumberOfMessages"] + "+" + out.Attributes["ApproximateNumberOfMessagesNotVisible"]
}

// A message with several records is handed out in pieces, ends with the last of
// them, and comes again with those that are retried only.
func TestSeveralRecordsInOneMessage(t *testing.T) {
	t.Parallel()
	b, queue := open(t, nil, nil)
	send(t, queue, records(
		record("ObjectCreated:Put", "a", "01"), record("ObjectCreated:Put", "b", "02"), record("ObjectRemoved:Delete", "a", "03"),
		record("ObjectCreated:CompleteMultipartUpload", "c d+e", "04"), record("ObjectCreated:Put", "folder/", "05"),
	))
	got := next(t, b, 3, 1)
	seen := map[string]driver.ObjectEventKind{}
	var settle []driver.Settlement
	for _, d := range got {
		seen[d.Message.Key] = d.Message.Kind
		settle = append(settle, driver.Settlement{ID: d.ID, Retry: d.Message.Key == "b"})
	}
	if len(seen) != 3 || seen["a"] != driver.ObjectRemoved || seen["b"] != driver.ObjectCreated || seen["c d+e"] != driver.ObjectCreated {
		t.Errorf("got the events %v", seen)
	}
	if err := b.Settle(t.Context(), settle); err != nil {
		t.Fatal(err)
	}
	again := next(t, b, 1, 10)
	if len(again) != 1 || again[0].Message.Key != "b" || again[0].Attempt < 2 {
		t.Errorf("after the retry of b came %v", again)
	}
	if err := b.Settle(t.Context(), []driver.Settlement{{ID: again[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if n := left(t, queue); n != "0+0" {
		t.Errorf("%s messages are left", n)
	}
}

// A standard queue has no order. What comes late of a key is not told after what
// came of it since, and a key is not held twice.
func TestEventsOfAKeyAreInOrder(t *testing.T) {
	t.Parallel()
	b, queue := open(t, nil, nil)
	send(t, queue, records(record("ObjectRemoved:Delete", "a", "0A2")))
	got := next(t, b, 1, 10)
	send(t, queue, records(record("ObjectCreated:Put", "a", "0A1FF")), records(record("ObjectRemoved:Delete", "a", "0A2")), records(record("ObjectCreated:Put", "a", "0A20000001")))
	for range 20 {
		if batch, err := b.Receive(t.Context(), 10); err != nil || len(batch.Deliveries) > 0 {
			t.Fatalf("while the key is held came %v, %v", batch.Deliveries, err)
		}
	}
	if err := b.Settle(t.Context(), []driver.Settlement{{ID: got[0].ID}}); err != nil {
		t.Fatal(err)
	}
	got = next(t, b, 1, 10)
	if len(got) != 1 || got[0].Message.Version != "0A20000001" {
		t.Fatalf("after it came %+v, want the latest change", got)
	}
	if err := b.Settle(t.Context(), []driver.Settlement{{ID: got[0].ID}}); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if batch, err := b.Receive(t.Context(), 10); err != nil || len(batch.Deliveries) > 0 {
			t.Fatalf("late changes are told: %v, %v", batch.Deliveries, err)
		}
		if left(t, queue) == "0+0" {
			return
		}
		wait(10 * time.Millisecond)
	}
	t.Errorf("late changes stay in the queue: %s", left(t, queue))
}

// What is no notification is parked, once, and gone from the queue.
func TestForeignMessagesAreParked(t *testing.T) {
	t.Parallel()
	letters, err := memory.New(nil).OpenDeadLetters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, queue := open(t, nil, &task.Options{Component: "Test.Task", DeadLetters: letters})
	bodies := []string{
		"no JSON", "{}", `{"Records":[]}`, records(record("ObjectRestore:Completed", "a", "01")), records(record("ObjectCreated:Put", "a//b", "01")),
		records(`{"eventSource":"aws:ses"}`), records(record("ObjectCreated:Put", "good", "01"), record("ObjectTagging:Put", "good", "02")),
	}
	send(t, queue, bodies...)
	send(t, queue, `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}`)
	got := next(t, b, 1, 10)
	if len(got) != 1 || got[0].Message.Key != "good" {
		t.Errorf("got %+v, want the good event", got)
	}
	if err := b.Settle(t.Context(), []driver.Settlement{{ID: got[0].ID}}); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		if _, err := b.Receive(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if left(t, queue) == "0+0" {
			break
		}
		wait(10 * time.Millisecond)
	}
	list, err := letters.List(t.Context(), "Test.Task", "", 100)
	if err != nil || len(list) != len(bodies) || left(t, queue) != "0+0" {
		t.Fatalf("%d letters, %v, and %s messages are left; want %d and none", len(list), err, left(t, queue), len(bodies))
	}
	for _, l := range list {
		if l.Kind != driver.DeadRaw || l.Reason == "" || len(l.Body) == 0 {
			t.Errorf("the letter %+v", l)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	events, err := task.Decode([]byte(records(record("ObjectCreated:Put", "dir/red flower+ä%.jpg", "0055AED6DCD90281E5"), record("LifecycleExpiration:Delete", "b", "1"))))
	want := []driver.ObjectEvent{
		{Kind: driver.ObjectCreated, Key: "dir/red flower+ä%.jpg", Version: "0055AED6DCD90281E5"},
		{Kind: driver.ObjectRemoved, Key: "b", Version: "1"},
	}
	if err != nil || fmt.Sprint(events) != fmt.Sprint(want) {
		t.Errorf("got %v, %v, want %v", events, err, want)
	}
	if events, err := task.Decode([]byte(`{"Event":"s3:TestEvent"}`)); err != nil || events != nil {
		t.Errorf("the test event is %v, %v", events, err)
	}
}

func TestVersionsAreComparedAsS3Says(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"01", "02", -1},
		{"1", "02", 1},
		{"0A", "0a0", 0},
		{"0A", "0A01", -1},
		{"0b", "0A01", 1},
		{"x", "1", 0},
		{"", "1", 0},
	} {
		if got := task.CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := task.CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("%q to %q: %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(records(record("ObjectCreated:Put", "a b", "01"))))
	f.Add([]byte(`{"Event":"s3:TestEvent"}`))
	f.Add([]byte(records(record("ObjectRemoved:Delete", "%zz", ""), `{}`, `null`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := task.Decode(body)
		if err != nil && !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("the error %v is of no class", err)
		}
		for _, e := range events {
			if e.Version == "" || e.Key == "" || e.Kind != driver.ObjectCreated && e.Kind != driver.ObjectRemoved {
				t.Errorf("got the event %+v", e)
			}
		}
	})
}

// Who puts, removes and settles until told of success: the objects are as they
// should be, and the last change of each key is told.
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
	b, _ := open(t, faults, &task.Options{Hold: time.Second}) // what is lost on its way is held that long
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
	want := map[string]driver.ObjectEventKind{}
	content := map[string]string{}
	for i := range 60 {
		key := fmt.Sprintf("k%d", random.IntN(8))
		if want[key] == driver.ObjectCreated && random.IntN(3) == 0 {
			want[key] = driver.ObjectRemoved
			until(func() error { return b.Delete(t.Context(), key) })
			continue
		}
		want[key], content[key] = driver.ObjectCreated, fmt.Sprint(i)
		until(func() error { return b.Put(t.Context(), key, strings.NewReader(content[key])) })
	}
	last := map[string]driver.ObjectEventKind{}
	told := func() bool {
		for key, kind := range want {
			if last[key] != kind {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		var batch driver.Batch[driver.ObjectEvent]
		until(func() (err error) { batch, err = b.Receive(t.Context(), 10); return err })
		for _, d := range batch.Deliveries {
			last[d.Message.Key] = d.Message.Kind
			until(func() error {
				return b.Settle(t.Context(), []driver.Settlement{{ID: d.ID, Retry: random.IntN(5) == 0}})
			})
		}
		if told() {
			break
		}
		wait(time.Millisecond)
	}
	if !told() {
		t.Errorf("the last events are %v, want %v (seed %d, faults %v)", last, want, seed, faults.Injected())
	}
	faults.Stop()
	for key, kind := range want {
		r, _, err := b.Get(t.Context(), key)
		if kind == driver.ObjectRemoved {
			if !errors.Is(err, driver.ErrNotFound) {
				t.Errorf("%s: %v, want not found", key, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		got, err := io.ReadAll(r)
		if _ = r.Close(); err != nil || !bytes.Equal(got, []byte(content[key])) {
			t.Errorf("%s is %q, %v, want %q", key, got, err, content[key])
		}
	}
}
