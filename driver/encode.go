package driver

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// CheckCommit checks c as [EventLog.Append] requires. Drivers call it first. The
// error is an [ErrInvalid].
func CheckCommit(c Commit) error {
	if err := CheckID("stream", c.Stream); err != nil {
		return err
	}
	bad := func(problem string) error {
		return fmt.Errorf("commit %d of %q: %s: %w", c.SequenceNr, c.Stream, problem, ErrInvalid)
	}
	switch {
	case c.SequenceNr == 0:
		return bad("sequence numbers start at 1")
	case len(c.Events) == 0:
		return bad("no events")
	case len(c.Commands) == 0:
		return bad("no commands")
	}
	for i, e := range c.Events {
		if e.Type == "" {
			return bad("event " + strconv.Itoa(i) + " has no type")
		}
		if !json.Valid(e.Data) {
			return bad("event " + strconv.Itoa(i) + " is not JSON")
		}
	}
	if c.Snapshot != nil && !json.Valid(c.Snapshot.State) {
		return bad("the snapshot is not JSON")
	}
	return nil
}

// EncodeCommit encodes c as one JSON object. Unlike json.Marshal it keeps the
// payloads byte for byte; decoding loses only white space around a payload. c must
// have passed [CheckCommit].
func EncodeCommit(c Commit) ([]byte, error) {
	n := 256
	for _, e := range c.Events {
		n += len(e.Data) + len(e.Type) + 48
	}
	if c.Snapshot != nil {
		n += len(c.Snapshot.State) + 96*len(c.Snapshot.Recent)
	}
	b := make([]byte, 0, n)
	b = append(b, `{"id":`...)
	b = appendString(b, c.Stream)
	b = append(b, `,"sequenceNr":`...)
	b = strconv.AppendUint(b, c.SequenceNr, 10)
	b = append(b, `,"events":[`...)
	for i, e := range c.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"type":`...)
		b = appendString(b, e.Type)
		b = append(b, `,"version":`...)
		b = strconv.AppendInt(b, int64(e.Version), 10)
		b = append(b, `,"data":`...)
		b = append(b, e.Data...)
		b = append(b, '}')
	}
	commands, err := json.Marshal(c.Commands)
	if err != nil {
		return nil, fmt.Errorf("encode commands of commit %d of %q: %w: %w", c.SequenceNr, c.Stream, ErrInvalid, err)
	}
	b = append(b, `],"commands":`...)
	b = append(b, commands...)
	if !c.RecordedAt.IsZero() {
		b = append(b, `,"recordedAt":"`...)
		b = c.RecordedAt.UTC().AppendFormat(b, "2006-01-02T15:04:05.999999999Z07:00")
		b = append(b, '"')
	}
	if s := c.Snapshot; s != nil {
		recent, err := json.Marshal(s.Recent)
		if err != nil {
			return nil, fmt.Errorf("encode snapshot of commit %d of %q: %w: %w", c.SequenceNr, c.Stream, ErrInvalid, err)
		}
		b = append(b, `,"snapshot":{"stateVersion":`...)
		b = strconv.AppendInt(b, int64(s.StateVersion), 10)
		b = append(b, `,"state":`...)
		b = append(b, s.State...)
		b = append(b, `,"recent":`...)
		b = append(b, recent...)
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

// DecodeCommit is the inverse of [EncodeCommit]; the error is an [ErrInvalid].
func DecodeCommit(b []byte) (Commit, error) {
	var c Commit
	if err := json.Unmarshal(b, &c); err != nil {
		return Commit{}, fmt.Errorf("decode commit: %w: %w", ErrInvalid, err)
	}
	return c, nil
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			q, _ := json.Marshal(s) // cannot fail for a string
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
