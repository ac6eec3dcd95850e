package eventcollector_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/driver"
)

const (
	queuedCommit = `{"id":"s","sequenceNr":3,"head":{"v":1,"e":[{"t":"T"}],"c":[{"i":"c"}]},"events":[{"a":1.0}]}`
	queuedWhole  = `{"log":"Test.Log","commit":` + queuedCommit + `}`
	queuedClaim  = `{"log":"Test.Log","stream":"s","sequenceNr":3}`
)

// wrapped returns a message in the form that SNS uses without raw message delivery.
func wrapped(message string) string {
	text, _ := json.Marshal(message) // a string always marshals
	return `{"Type":"Notification","MessageId":"m","SequenceNumber":"10","TopicArn":"arn","Message":` + string(text) +
		`,"Timestamp":"2026-01-01T00:00:00Z","MessageAttributes":{"log":{"Type":"String","Value":"Test.Log"}}}`
}

func TestDecodeQueue(t *testing.T) {
	t.Parallel()
	for _, body := range []string{queuedWhole, wrapped(queuedWhole)} {
		r := eventcollector.DecodeQueue(body, "Test.Log")
		if r.Err != nil || r.Raw != nil || r.Log != "Test.Log" || r.Stream != "s" || r.SequenceNr != 3 || r.Commit == nil || string(r.Commit.Events[0].Data) != `{"a":1.0}` {
			t.Errorf("%s is %+v", body, r)
		}
	}
	for _, body := range []string{queuedClaim, wrapped(queuedClaim), `{"log":"Test.Log","stream":"s","sequenceNr":3,"commit":null}`} {
		r := eventcollector.DecodeQueue(body, "Test.Log")
		if r.Err != nil || r.Raw != nil || r.Log != "Test.Log" || r.Stream != "s" || r.SequenceNr != 3 || r.Commit != nil {
			t.Errorf("%s is %+v", body, r)
		}
	}
}

func TestDecodeQueueKeepsWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", "x", "null", "[]", "{}", `{"Type":"Notification"}`, wrapped("x"), wrapped(wrapped(queuedWhole)),
		strings.Replace(queuedWhole, "Test.Log", "Test.Other", 1), // another log's stream of that name is another stream
		`{"log":"Test.Log"}`,
		`{"log":"Test.Log","stream":"s"}`,
		`{"log":"Test.Log","stream":"","sequenceNr":1}`,
		`{"log":"Test.Log","stream":"s","sequenceNr":-1}`,
		`{"log":"Test.Log","commit":{}}`,
		`{"log":"Test.Log","commit":7}`,
	} {
		r := eventcollector.DecodeQueue(body, "Test.Log")
		if !malformed(r.Err) || string(r.Raw) != body || r.Commit != nil {
			t.Errorf("%s is %+v", body, r)
		}
	}
}

func malformed(err error) bool {
	return errors.Is(err, driver.ErrInvalid) || errors.Is(err, driver.ErrDamaged)
}

// A message with a damaged commit identifies it. The consumer reads it from the log, where
// it may be whole.
func TestDamagedMessageIdentifiesItsCommit(t *testing.T) {
	t.Parallel()
	r := eventcollector.DecodeQueue(strings.Replace(queuedWhole, `"events":[{"a":1.0}]`, `"events":[]`, 1), "Test.Log")
	if r.Err != nil || r.Commit != nil || r.Stream != "s" || r.SequenceNr != 3 {
		t.Errorf("got %+v, want commit 3 of stream s without its content", r)
	}
}

func FuzzDecodeQueue(f *testing.F) {
	for _, s := range []string{"", "null", queuedWhole, queuedClaim, wrapped(queuedWhole), wrapped(queuedClaim), `{"log":"Test.Log","commit":{"id":"\ud800"}}`, "\xff"} {
		f.Add(s, "Test.Log")
	}
	f.Fuzz(func(t *testing.T, body, log string) {
		r := eventcollector.DecodeQueue(body, log)
		if r.Err != nil {
			if !malformed(r.Err) || string(r.Raw) != body || r.Commit != nil {
				t.Errorf("%q is %+v", body, r)
			}
			return
		}
		if r.Raw != nil || r.Log != log || driver.CheckID("stream", r.Stream) != nil || r.SequenceNr == 0 {
			t.Errorf("%q is %+v", body, r)
		}
		if c := r.Commit; c != nil && (c.Stream != r.Stream || c.SequenceNr != r.SequenceNr || driver.CheckCommit(*c) != nil) {
			t.Errorf("%q has the commit %+v", body, *c)
		}
	})
}
