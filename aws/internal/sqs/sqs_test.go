package sqs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/driver"
)

func TestClassesOfErrors(t *testing.T) {
	t.Parallel()
	classes := []error{
		driver.ErrConflict, driver.ErrNotFound, driver.ErrExists, driver.ErrTooLarge,
		driver.ErrThrottled, driver.ErrUnavailable, driver.ErrUnsupported, driver.ErrInvalid,
	}
	older := aws.String("AWS.SimpleQueueService.NonExistentQueue")
	for i, tt := range []struct{ err, want error }{
		{&types.QueueDoesNotExist{}, driver.ErrUnavailable},
		{&types.QueueDoesNotExist{ErrorCodeOverride: older}, driver.ErrUnavailable},
		{&snstypes.NotFoundException{}, driver.ErrUnavailable},
		{&types.RequestThrottled{}, driver.ErrThrottled},
		{&types.KmsThrottled{}, driver.ErrThrottled},
		{&types.OverLimit{}, driver.ErrThrottled},
		{&snstypes.ThrottledException{}, driver.ErrThrottled},
		{&snstypes.KMSThrottlingException{}, driver.ErrThrottled},
		{&smithy.GenericAPIError{Code: "ThrottlingException"}, driver.ErrThrottled},
		{&smithy.GenericAPIError{Code: "Throttling"}, driver.ErrThrottled},
		{&snstypes.InternalErrorException{}, driver.ErrUnavailable},
		{&smithy.GenericAPIError{Code: "Strange", Fault: smithy.FaultServer}, driver.ErrUnavailable},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, driver.ErrUnavailable},
		{&types.InvalidMessageContents{}, driver.ErrInvalid},
		{&snstypes.InvalidParameterException{}, driver.ErrInvalid},
		{&smithy.GenericAPIError{Code: "AccessDenied", Message: "not found, throttled, conflict"}, nil},
		{errors.New("RequestThrottled"), nil},
		{context.Canceled, nil},
		{fmt.Errorf("%w: %w", context.DeadlineExceeded, &net.OpError{Op: "read"}), nil},
	} {
		got := sqs.Classify(fmt.Errorf("operation: %w", tt.err))
		if !errors.Is(got, tt.err) {
			t.Errorf("%d: %v does not wrap its cause", i, got)
		}
		for _, class := range classes {
			if errors.Is(got, class) != (tt.want != nil && errors.Is(tt.want, class)) {
				t.Errorf("%d: %v has class %v: %v, want class %v", i, got, class, errors.Is(got, class), tt.want)
			}
		}
	}
	if sqs.Classify(nil) != nil {
		t.Error("Classify(nil) is not nil")
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	punctuation := "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for _, s := range []string{"a", punctuation, strings.Repeat("x", 128), "Catalog.Product/1/2"} {
		if got := sqs.ID(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	seen := map[string]string{}
	for _, s := range []string{"", " ", "a b", "ä", "日本語", "\uffff", "a\x7f", strings.Repeat("x", 129), strings.Repeat("x", 1024), strings.Repeat("x", 1023) + "y", sqs.ID("a b"), sqs.ID(sqs.ID("a b"))} {
		id := sqs.ID(s)
		if len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%q became %q", s, id)
		}
		if other, ok := seen[id]; ok || id == s {
			t.Errorf("%q and %q have the same id", s, other)
		}
		seen[id] = s
	}
}

func FuzzText(f *testing.F) {
	f.Add(`{"a\uffff":"` + "\uffff\ufffe\\\\" + `"}`)
	f.Fuzz(func(t *testing.T, s string) {
		text, changed, err := sqs.Text([]byte(s))
		if err != nil {
			return
		}
		if strings.ContainsAny(text, "\ufffe\uffff") || changed != (text != s) {
			t.Errorf("%q became %q, changed %v", s, text, changed)
		}
		var before, after any
		if json.Unmarshal([]byte(s), &before) == nil {
			if err := json.Unmarshal([]byte(text), &after); err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("%q became %q, %v", s, text, err)
			}
		}
	})
}

// Each message is in one request, in order. Only requests with a single message exceed the
// limit of bytes.
func TestRequestsKeepTheLimits(t *testing.T) {
	t.Parallel()
	for _, sizes := range [][]int{{}, {0}, {1000}, {1000, 1, 1000}, {1, 1000, 1, 1000, 1000}, slices.Repeat([]int{0}, 31), slices.Repeat([]int{30}, 31), {100, 1, 99, 2, 100}} {
		var messages []sqs.Message
		for i, n := range sizes {
			messages = append(messages, sqs.Message{Key: fmt.Sprint(i), Size: n})
		}
		var sent []sqs.Message
		err := sqs.Send(t.Context(), messages, 100, map[string]error{}, func(_ context.Context, batch []sqs.Message) (*sqs.Answer, error) {
			total := 0
			answer := sqs.NewAnswer()
			for i, m := range batch {
				total += m.Size
				answer.Accepted[sqs.Entry(i)] = true
			}
			if len(batch) > 10 || len(batch) == 0 || len(batch) > 1 && total > 100 {
				t.Errorf("%v: a request of %d with %d bytes", sizes, len(batch), total)
			}
			sent = append(sent, batch...)
			return answer, nil
		})
		if err != nil || !slices.Equal(sent, messages) {
			t.Errorf("%v: sent %v, %v", sizes, sent, err)
		}
	}
}

// Delays are whole seconds, rounded up, and end before a message was received for 12 hours.
func TestDelaysAreWholeSecondsWithinTheLimit(t *testing.T) {
	t.Parallel()
	var got []int32
	client := sdk.New(sdk.Options{Region: "eu-central-1", HTTPClient: smithyhttp.ClientDoFunc(func(r *http.Request) (*http.Response, error) {
		var in struct {
			Entries []struct{ VisibilityTimeout int32 }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		for _, e := range in.Entries {
			got = append(got, e.VisibilityTimeout)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}), Credentials: aws.AnonymousCredentials{}})
	var delays []sqs.Delay
	for _, after := range []time.Duration{-time.Second, 0, 1, time.Second, time.Second + 1, time.Hour, 12*time.Hour - time.Minute, 12 * time.Hour, 1000 * time.Hour} {
		delays = append(delays, sqs.Delay{Receipt: "r", After: after})
	}
	if err := sqs.SetDelays(t.Context(), sqs.NewQueue(client, "https://sqs.eu-central-1.amazonaws.com/123456789012/q"), delays); err != nil {
		t.Fatal(err)
	}
	if want := []int32{0, 0, 1, 1, 2, 3600, 43140, 43140, 43140}; !slices.Equal(got, want) {
		t.Errorf("the delays are %v, want %v", got, want)
	}
}
