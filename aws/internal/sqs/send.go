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

// The limits of one request.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const (
	MaxEntries = 10
	MaxBytes   = 1 << 20 // of the messages of a request together, and of each
)

// maxID is the maximum length of the ids of groups and of deduplication.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const maxID = 128

// hashed is the prefix of ids that are hashes. A text with this prefix is hashed, too, so
// that no two texts have the same id.
const hashed = "sha256:"

// ID returns the id of a group or of deduplication for a text: the text itself if it has at
// most 128 printable ASCII characters and no spaces, otherwise its hash.
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

// Text returns JSON as the text of a message. It escapes the two characters that JSON
// allows and messages do not; changed is true if there were any. JSON that is not valid
// UTF-8 is an error.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
func Text(json []byte) (text string, changed bool, err error) {
	if !utf8.Valid(json) {
		return "", false, fmt.Errorf("not valid UTF-8: %w", driver.ErrInvalid)
	}
	escaped := bytes.ReplaceAll(bytes.ReplaceAll(json, []byte("\ufffe"), []byte(`\ufffe`)), []byte("\uffff"), []byte(`\uffff`))
	return string(escaped), len(escaped) != len(json), nil
}

// Message is a message to send.
type Message struct {
	// Key names it in a [driver.BatchError].
	Key string
	// Group and Dedup are the ids of the group and of deduplication.
	Group, Dedup string
	Body         string
	// Log and Types are the values of the attributes of events.
	Log, Types string
	// Size is the size that counts for the limits.
	Size int
}

// Entry returns the id of the i-th entry of a request.
func Entry(i int) string { return strconv.Itoa(i) }

// Answer has the accepted entries of a request and the errors of the others by id.
type Answer struct {
	Accepted map[string]bool
	Failed   map[string]error
}

// NewAnswer returns an empty answer.
func NewAnswer() *Answer { return &Answer{Accepted: map[string]bool{}, Failed: map[string]error{}} }

// Send passes messages to send in order, in requests of up to ten messages and max bytes. It
// returns the error of send if no message was accepted or refused, otherwise a
// [driver.BatchError] with all failed messages, including the refused ones.
//
// After a failed request, Send does not send the remaining messages; they have the same
// error. After a failed entry, later requests have no messages of its group, because they
// would overtake the failed one when it is retried. Messages of the group in the same
// request may have been accepted.
func Send(ctx context.Context, messages []Message, max int, refused map[string]error, send func(context.Context, []Message) (*Answer, error)) error {
	failed := refused
	waiting := map[string]bool{} // groups with a failed message
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
				failed[m.Key] = fmt.Errorf("not sent because an earlier message of its group failed: %w", driver.ErrUnavailable)
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
