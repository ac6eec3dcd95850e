package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/objectkey"
)

// testEvent is what S3 sends when notifications are set up.
const testEvent = "s3:TestEvent"

// notification is the body of a message from S3, and the event of a Lambda function that
// S3 invokes.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
type notification struct {
	Event   string
	Records []struct {
		EventSource      string            `json:"eventSource"`
		EventName        string            `json:"eventName"`
		EventTime        string            `json:"eventTime"`
		ResponseElements map[string]string `json:"responseElements"`
		S3               struct {
			Object struct {
				Key       string
				Sequencer string
			}
		} `json:"s3"`
	}
}

// Decode returns the events of a notification: the body of an SQS message, or the
// event of a Lambda function that S3 invokes. It skips S3's test event and folders (keys
// that end with a slash). When some records are invalid, it returns the events of the
// others with an error, a [driver.ErrInvalid].
func Decode(body []byte) ([]driver.ObjectEvent, error) {
	var n notification
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, fmt.Errorf("notification: %w: %w", driver.ErrInvalid, err)
	}
	if n.Event == testEvent {
		return nil, nil
	}
	if len(n.Records) == 0 {
		return nil, fmt.Errorf("notification: no records: %w", driver.ErrInvalid)
	}
	var events []driver.ObjectEvent
	var errs []error
	fail := func(i int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("notification: record %d: "+format, append([]any{i}, args...)...))
	}
	for i, r := range n.Records {
		e := driver.ObjectEvent{Version: r.S3.Object.Sequencer}
		switch kind, _, _ := strings.Cut(r.EventName, ":"); {
		case r.EventSource != "aws:s3":
			fail(i, "its source is %.100q: %w", r.EventSource, driver.ErrInvalid)
			continue
		case kind == "ObjectCreated":
			e.Kind = driver.ObjectCreated
		case kind == "ObjectRemoved", kind == "LifecycleExpiration":
			e.Kind = driver.ObjectRemoved
		default:
			fail(i, "its event is %.100q: %w", r.EventName, driver.ErrInvalid)
			continue
		}
		// The key is encoded like a form: a space is a plus.
		key, err := url.QueryUnescape(r.S3.Object.Key)
		if err != nil {
			fail(i, "its key %.100q: %w: %w", r.S3.Object.Key, driver.ErrInvalid, err)
			continue
		}
		if e.Key = key; strings.HasSuffix(key, "/") {
			continue
		}
		if err := objectkey.Check(key); err != nil {
			fail(i, "%w", err)
			continue
		}
		if !isHex(e.Version) { // documented for every event of these kinds
			e.Version = strings.Trim(r.EventTime+"/"+r.ResponseElements["x-amz-request-id"], "/")
		}
		if e.Version == "" {
			fail(i, "it has no sequencer: %w", driver.ErrInvalid)
			continue
		}
		events = append(events, e)
	}
	return events, errors.Join(errs...)
}

// CompareVersions compares the versions of two events of one key; the result is below 0
// when a is the earlier change. Versions of different keys cannot be compared. A version
// that is not a sequencer of S3 is equal to all others.
func CompareVersions(a, b string) int {
	if !isHex(a) || !isHex(b) {
		return 0
	}
	// Sequencers are hexadecimal numbers; zeros extend the shorter one at its end.
	n := max(len(a), len(b))
	pad := func(s string) string { return strings.ToUpper(s) + strings.Repeat("0", n-len(s)) }
	return strings.Compare(pad(a), pad(b))
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
