package eventcollector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// lambdaRecord is a record in the form in which a Lambda function receives it.
const lambdaRecord = `{
	"eventID": "c4ca4238a0b923820dcc509a6f75849b", "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "eu-central-1",
	"dynamodb": {
		"ApproximateCreationDateTime": 1479499740.123,
		"Keys": {"id": {"S": "a"}, "sequenceNr": {"N": "7"}},
		"NewImage": {
			"id": {"S": "a"}, "sequenceNr": {"N": "7"}, "at": {"N": "1700000000000000001"},
			"events": {"S": " {\"n\": 1.0, \"odd\":\"<&>\u2028\"} "},
			"head": {"S": "{\"v\":1,\"e\":[{\"t\":\"Happened\",\"v\":2}],\"c\":[{\"i\":\"c\"}]}"},
			"snapshot": {"S": "{\"v\":1}"}, "state": {"S": "{}"}
		},
		"SequenceNumber": "4421584500000000017450439091", "SizeBytes": 26, "StreamViewType": "NEW_IMAGE"
	},
	"eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/log/stream/2026-01-01T00:00:00.000"
}`

func TestLambdaRecordsAreDecoded(t *testing.T) {
	t.Parallel()
	change := streams.Parse([]byte(lambdaRecord))
	r := eventcollector.DecodeStream(change, "Test.Log")
	if r.Err != nil || r.Raw != nil {
		t.Fatal(r.Err)
	}
	if change.Sequence != "4421584500000000017450439091" {
		t.Errorf("the sequence number is %q", change.Sequence)
	}
	if r.Log != "Test.Log" || r.Stream != "a" || r.SequenceNr != 7 || r.Commit == nil {
		t.Fatalf("got %+v, want commit 7 of stream a", r)
	}
	c := r.Commit
	if c.Stream != "a" || c.SequenceNr != 7 || len(c.Events) != 1 || len(c.Commands) != 1 || c.Commands[0].Meta.ID != "c" || c.RecordedAt.UnixNano() != 1700000000000000001 {
		t.Errorf("got the commit %+v", c)
	}
	if want := " {\"n\": 1.0, \"odd\":\"<&>\u2028\"} "; string(c.Events[0].Data) != want {
		t.Errorf("the event is %q, want %q, byte for byte", c.Events[0].Data, want)
	}
}

// A record that is not a new commit becomes an undecodable record with the unchanged
// bytes and the reason.
func TestForeignRecordsAreUndecodable(t *testing.T) {
	t.Parallel()
	replace := func(old, by string) string { return replaced(t, old, by) }
	for what, text := range map[string]string{
		"not JSON":             `{"eventName`,
		"empty text":           ``,
		"null":                 `null`,
		"not an object":        `[1]`,
		"nothing":              `{}`,
		"no change":            `{"eventName":"INSERT"}`,
		"a removal":            replace(`"INSERT"`, `"REMOVE"`),
		"a modification":       replace(`"INSERT"`, `"MODIFY"`),
		"an unknown kind":      replace(`"INSERT"`, `"UPSERT"`),
		"no keys and no image": `{"eventName":"INSERT","dynamodb":{"SequenceNumber":"1"}}`,
		"an unknown type":      replace(`{"N": "1700000000000000001"}`, `{"X": "1"}`),
		"two types":            replace(`{"N": "1700000000000000001"}`, `{"N": "1", "S": "1"}`),
		"no type":              replace(`{"N": "1700000000000000001"}`, `{}`),
		"an untyped number":    replace(`{"N": "1700000000000000001"}`, `17`),
		"a null value":         replace(`{"N": "1700000000000000001"}`, `{"N": null}`),
		"deep lists":           replace(`{"N": "1700000000000000001"}`, strings.Repeat(`{"L":[`, 200)+strings.Repeat(`]}`, 200)),
	} {
		r := eventcollector.DecodeStream(streams.Parse([]byte(text)), "Test.Log")
		if !errors.Is(r.Err, driver.ErrInvalid) {
			t.Errorf("%s: got the error %v, want an error of class ErrInvalid", what, r.Err)
		}
		if string(r.Raw) != text || r.Commit != nil || r.Log != "Test.Log" {
			t.Errorf("%s: got %+v, want the unchanged record", what, r)
		}
	}
}

func replaced(t *testing.T, old, by string) string {
	t.Helper()
	text := strings.Replace(lambdaRecord, old, by, 1)
	if text == lambdaRecord {
		t.Fatalf("%s is not in the record", old)
	}
	return text
}

// A record with a damaged commit identifies it. The consumer reads it from the log, and
// blocks the stream if it is damaged there.
func TestDamagedRecordIdentifiesItsCommit(t *testing.T) {
	t.Parallel()
	replace := func(old, by string) string { return replaced(t, old, by) }
	for what, text := range map[string]string{
		"no events":                   replace(`"events"`, `"other"`),
		"no event in the head":        replace(`[{\"t\":\"Happened\",\"v\":2}]`, `[]`),
		"event data that is not JSON": replace(`{"S": " {\"n\": 1.0, \"odd\":\"<&>\u2028\"} "}`, `{"S": "}"}`),
		"commit 0":                    replace(`"N": "7"}, "at"`, `"N": "0"}, "at"`),
		"a negative number":           replace(`"N": "7"}, "at"`, `"N": "-7"}, "at"`),
		"a number as text":            replace(`"N": "7"}, "at"`, `"S": "7"}, "at"`),
		"an empty stream":             replace(`{"S": "a"}, "sequenceNr": {"N": "7"}, "at"`, `{"S": ""}, "sequenceNr": {"N": "7"}, "at"`),
	} {
		r := eventcollector.DecodeStream(streams.Parse([]byte(text)), "Test.Log")
		if r.Err != nil || r.Raw != nil || r.Commit != nil || r.Stream != "a" || r.SequenceNr != 7 {
			t.Errorf("%s: got %+v, want commit 7 of stream a without its content", what, r)
		}
	}
}

// A record that has only keys identifies a commit, which the consumer reads from the log.
func TestRecordsWithKeysOnlyIdentifyTheCommit(t *testing.T) {
	t.Parallel()
	r := eventcollector.DecodeStream(streams.Parse([]byte(`{"eventName":"INSERT","dynamodb":{"Keys":{"id":{"S":"a"},"sequenceNr":{"N":"7"}},"SequenceNumber":"1"}}`)), "Test.Log")
	if r.Err != nil || r.Stream != "a" || r.SequenceNr != 7 || r.Commit != nil {
		t.Errorf("got %+v, want commit 7 of stream a", r)
	}
}

func FuzzDecodeStream(f *testing.F) {
	f.Add([]byte(lambdaRecord))
	f.Add([]byte(`{"eventName":"REMOVE","userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"},"dynamodb":{"OldImage":{"id":{"S":"a"},"l":{"L":[{"NULL":true}]},"b":{"B":"AA=="}}}}`))
	f.Add([]byte(`{"eventName":"INSERT","dynamodb":{"Keys":{"id":{"S":"a"},"sequenceNr":{"N":"7"}},"ApproximateCreationDateTime":1e300}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		change := streams.Parse(text)
		r := eventcollector.DecodeStream(change, "Test.Log")
		switch {
		case r.Err != nil:
			if r.Commit != nil || string(r.Raw) != string(text) {
				t.Errorf("an undecodable record has a commit or changed bytes: %+v", r)
			}
		case driver.CheckID("stream", r.Stream) != nil || r.SequenceNr == 0 || r.Raw != nil:
			t.Errorf("a decoded record identifies no commit: %+v", r)
		case r.Commit != nil && (r.Commit.Stream != r.Stream || r.Commit.SequenceNr != r.SequenceNr || driver.CheckCommit(*r.Commit) != nil):
			t.Errorf("got %+v, want a valid commit %d of stream %q", r.Commit, r.SequenceNr, r.Stream)
		}
		if raw := change.Raw(); string(raw) != string(text) {
			t.Errorf("the record is %q, want %q", raw, text)
		}
	})
}
