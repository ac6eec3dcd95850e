package task_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/task"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// open returns a bucket through a transport, and its name.
func open(t *testing.T, transport http.RoundTripper) (*task.Bucket, string) {
	t.Helper()
	d := awstest.NewDeployment(t, topology.App{Name: "test"}, awstest.MiniStack(t), awstest.MiniStack(t))
	if err := d.Bucket("Test.Files", false); err != nil {
		t.Fatal(err)
	}
	name := d.Resource(naming.Bucket, "Test.Files")
	return task.Open(awstest.MiniStack(t).Clients(transport).S3, name), name
}

func TestCosts(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	b, _ := open(t, requests)
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
			t.Errorf("got %d bytes of %d", n, o.Size)
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

// A body that fails in its second part leaves no object and no parts.
func TestFailedUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	b, name := open(t, nil)
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
	out, err := awstest.MiniStack(t).Clients(nil).S3.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &name})
	if err != nil || len(out.Uploads) != 0 {
		t.Errorf("%d uploads are left: %v", len(out.Uploads), err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestMissingBucketIsNotAMissingObject(t *testing.T) {
	t.Parallel()
	b := task.Open(awstest.MiniStack(t).Clients(nil).S3, awstest.Stack())
	if _, _, err := b.Get(t.Context(), "a"); !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Get: %v, want unavailable", err)
	}
}

func record(name, key, sequencer string) string {
	return fmt.Sprintf(`{"eventVersion":"2.6","eventSource":"aws:s3","eventName":%q,"eventTime":"2026-01-01T00:00:00.000Z","s3":{"bucket":{"name":"b"},"object":{"key":%q,"sequencer":%q}}}`, name, url.QueryEscape(key), sequencer)
}

func records(rs ...string) string { return `{"Records":[` + strings.Join(rs, ",") + `]}` }

// A standard queue has no order. A late event of a key is dropped after a later one.
func TestEventsOfAKeyAreInOrder(t *testing.T) {
	t.Parallel()
	e := task.NewEvents()
	batch := func(events ...string) (ds []driver.Delivery[driver.ObjectEvent]) {
		for _, x := range events {
			key, version, _ := strings.Cut(x, "@")
			ds = append(ds, driver.Delivery[driver.ObjectEvent]{ID: x, Message: driver.ObjectEvent{Key: key, Version: version}})
		}
		return ds
	}
	for _, c := range []struct {
		events, newest []string
		retried        string
	}{
		{events: []string{"a@02", "b@01", "a@01", "a@03"}, newest: []string{"a@03", "b@01"}, retried: "a@03"},
		{events: []string{"a@02", "b@01"}},                                       // late and repeated
		{events: []string{"a@03", "b@0101"}, newest: []string{"a@03", "b@0101"}}, // the retry, and a later one
		{events: []string{"a@03"}},
		{events: []string{"c@x", "c@y"}, newest: []string{"c@y"}}, // not comparable: the last delivered
	} {
		ds := batch(c.events...)
		newest, settled := e.Newest(ds)
		var got []string
		var ends []driver.Settlement
		for _, d := range newest {
			got = append(got, d.ID)
			ends = append(ends, driver.Settlement{ID: d.ID, Retry: d.ID == c.retried})
		}
		if !slices.Equal(got, c.newest) || len(settled)+len(newest) != len(ds) {
			t.Errorf("of %v %v are handed over and %v settled, want %v", c.events, got, settled, c.newest)
		}
		e.Done(newest, ends)
	}
}

// Records that are not notifications are invalid; the others are returned.
func TestForeignMessagesAreInvalid(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"no JSON", "{}", `{"Records":[]}`, records(record("ObjectRestore:Completed", "a", "01")), records(record("ObjectCreated:Put", "a//b", "01")), records(`{"eventSource":"aws:ses"}`),
	} {
		if events, err := task.Decode([]byte(body)); !errors.Is(err, driver.ErrInvalid) || len(events) > 0 {
			t.Errorf("%s is %v, %v", body, events, err)
		}
	}
	events, err := task.Decode([]byte(records(record("ObjectCreated:Put", "good", "01"), record("ObjectTagging:Put", "good", "02"), record("ObjectCreated:Put", "folder/", "05"))))
	if !errors.Is(err, driver.ErrInvalid) || len(events) != 1 || events[0].Key != "good" {
		t.Errorf("got %+v, %v, want the good event", events, err)
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
