package sqs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
)

// What one request takes.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const (
	MaxEntries = 10
	MaxBytes   = 1 << 20 // of the messages of a request together, and of each
)

// maxID bounds the ids of groups and of de-duplication.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const maxID = 128

// hashed is what ids begin with that are made from a hash. A text that begins so
// is hashed, too: no two texts have one id.
const hashed = "sha256:"

// ID returns text where it can be the id of a group or of de-duplication, up to
// 128 letters, digits and punctuation of ASCII; else one made from its hash.
func ID(text string) string {
	plain := text != "" && len(text) <= maxID && !strings.HasPrefix(text, hashed)
	for i := 0; plain && i < len(text); i++ {
		plain = text[i] > ' ' && text[i] < 0x7f
	}
	if plain {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return hashed + hex.EncodeToString(sum[:])
}

// Text returns JSON as the text of a message, which may not have all characters
// that JSON may: those two are escaped, which leaves the value what it is. Changed
// says that there were any; what is not UTF-8 is no text.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
func Text(json []byte) (text string, changed bool, err error) {
	if !utf8.Valid(json) {
		return "", false, fmt.Errorf("not valid UTF-8: %w", driver.ErrInvalid)
	}
	escaped := bytes.ReplaceAll(bytes.ReplaceAll(json, []byte("\ufffe"), []byte(`\ufffe`)), []byte("\uffff"), []byte(`\uffff`))
	return string(escaped), len(escaped) != len(json), nil
}

// Message is a message on its way.
type Message struct {
	// Key names it in a [driver.BatchError].
	Key string
	// Group is what it is ordered by and Dedup what it is known by, as they go
	// into the request.
	Group, Dedup string
	Body         string
	// Log and Types are the values of the attributes that events have.
	Log, Types string
	// Size is what counts for the limits.
	Size int
}

// Entry is the id of the i-th entry of a request.
func Entry(i int) string { return strconv.Itoa(i) }

// Answer says which entries of a request were accepted, by their ids, and why
// others were not.
type Answer struct {
	Accepted map[string]bool
	Failed   map[string]error
}

// NewAnswer returns an empty answer.
func NewAnswer() *Answer { return &Answer{Accepted: map[string]bool{}, Failed: map[string]error{}} }

// Send hands messages to send in order, in requests of up to ten whose bytes are
// at most max. The error is nil, or send's own when nothing was accepted, or a
// [driver.BatchError] that has the refused ones, too.
//
// A request that fails ends it: what comes behind is not sent and has the same
// error. An entry that fails keeps later requests from bringing messages of its
// group, which would overtake it when it is sent again; those that stood beside
// it in its request may have been accepted.
func Send(ctx context.Context, messages []Message, max int, refused map[string]error, send func(context.Context, []Message) (*Answer, error)) error {
	failed := refused
	waiting := map[string]bool{} // groups with a message that failed
	accepted := false
	for len(messages) > 0 {
		var batch []Message
		size := 0
		for len(messages) > 0 && len(batch) < MaxEntries {
			m := messages[0]
			if len(batch) > 0 && size+m.Size > max {
				break
			}
			messages = messages[1:]
			if waiting[m.Group] {
				failed[m.Key] = fmt.Errorf("it was not sent, for one before it failed: %w", driver.ErrUnavailable)
				continue
			}
			batch, size = append(batch, m), size+m.Size
		}
		if len(batch) == 0 {
			break
		}
		answer, err := send(ctx, batch)
		if err != nil {
			if !accepted && len(failed) == 0 {
				return err
			}
			for _, m := range append(batch, messages...) {
				failed[m.Key] = err
			}
			break
		}
		for i, m := range batch {
			switch err := answer.Failed[Entry(i)]; {
			case err != nil:
				failed[m.Key], waiting[m.Group] = err, true
			case answer.Accepted[Entry(i)]:
				accepted = true
			default:
				failed[m.Key], waiting[m.Group] = errNoResult(), true
			}
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &driver.BatchError{Failed: failed}
}
