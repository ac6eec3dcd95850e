package driver

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The formats in this file are described in docs/formats.md.

// FormatVersion is the version of the stored form of commits and snapshots.
const FormatVersion = 1

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
	left := len(c.Events)
	for _, a := range c.Commands {
		if left -= a.EventCount; a.EventCount < 0 || left < 0 {
			break
		}
	}
	if left != 0 {
		return bad("its commands do not have the number of its events")
	}
	if c.Snapshot != nil && !json.Valid(c.Snapshot.State) {
		return bad("the snapshot is not JSON")
	}
	return nil
}

// StoredCommit is the stored form of a commit. Head, Events and Snapshot are text.
type StoredCommit struct {
	Stream     string
	SequenceNr uint64
	RecordedAt time.Time
	// Head is a JSON object: types and sizes of the events, and the commands.
	Head string
	// Events is the concatenated data of the events.
	Events string
	// Snapshot is a JSON object: all of the snapshot but its state. Without a
	// snapshot it is empty.
	Snapshot string
	State    string
}

// Size returns the size of r in bytes, without RecordedAt and SequenceNr.
func (r *StoredCommit) Size() int {
	return len(r.Stream) + len(r.Head) + len(r.Events) + len(r.Snapshot) + len(r.State)
}

// head is the JSON of a [StoredCommit]'s Head.
type head struct {
	Version      int           `json:"v"`
	LastSnapshot uint64        `json:"s,omitempty"`
	Events       []headEvent   `json:"e"`
	Commands     []headCommand `json:"c"`
}

// headEvent is the head of an event. Version is absent for version 1. Size is absent
// for the last event, which has the rest of the data.
type headEvent struct {
	Type    string `json:"t"`
	Version *int   `json:"v,omitempty"`
	Size    int    `json:"n,omitempty"`
}

// headCommand is an answered command. Correlation is absent if it is the id. Events is
// absent for the last command, to which the rest of the events belong.
type headCommand struct {
	ID          string            `json:"i"`
	Fingerprint uint32            `json:"f,omitempty"`
	Events      int               `json:"n,omitempty"`
	Correlation *string           `json:"r,omitempty"`
	Causation   string            `json:"c,omitempty"`
	Depth       int               `json:"d,omitempty"`
	Time        int64             `json:"t,omitempty"` // nanoseconds since 1970
	User        string            `json:"u,omitempty"`
	IP          string            `json:"a,omitempty"`
	Trace       string            `json:"p,omitempty"`
	Headers     map[string]string `json:"h,omitempty"`
}

// snapshotHead is the JSON of a [StoredCommit]'s Snapshot.
type snapshotHead struct {
	Version      int      `json:"v"`
	Shape        string   `json:"s,omitempty"`
	StateVersion int      `json:"n,omitempty"`
	Folded       []string `json:"e,omitempty"`
	From         uint64   `json:"f,omitempty"`
	Since        int64    `json:"t,omitempty"` // nanoseconds since 1970
	Remembered   string   `json:"r,omitempty"`
}

// StoreCommit returns the stored form of c, which must have passed [CheckCommit].
func StoreCommit(c Commit) (StoredCommit, error) {
	r := StoredCommit{Stream: c.Stream, SequenceNr: c.SequenceNr, RecordedAt: c.RecordedAt}
	h := head{Version: FormatVersion, LastSnapshot: c.LastSnapshot, Events: make([]headEvent, len(c.Events)), Commands: make([]headCommand, len(c.Commands))}
	size := 0
	for _, e := range c.Events {
		size += len(e.Data)
	}
	data := make([]byte, 0, size)
	for i, e := range c.Events {
		h.Events[i] = headEvent{Type: e.Type, Size: len(e.Data)}
		if e.Version != 1 {
			h.Events[i].Version = &e.Version
		}
		data = append(data, e.Data...)
	}
	h.Events[len(c.Events)-1].Size = 0
	r.Events = string(data)
	for i, a := range c.Commands {
		h.Commands[i] = encodeCommand(a)
	}
	h.Commands[len(c.Commands)-1].Events = 0
	text, err := json.Marshal(h)
	if err != nil {
		return StoredCommit{}, fmt.Errorf("encode commit %d of %q: %w: %w", c.SequenceNr, c.Stream, ErrInvalid, err)
	}
	r.Head = string(text)
	if s := c.Snapshot; s != nil {
		r.State = string(s.State)
		text, err := json.Marshal(snapshotHead{
			FormatVersion, s.Shape, s.StateVersion, s.Folded, s.From, nanos(s.Since), encodeRemembered(s.Remembered),
		})
		if err != nil {
			return StoredCommit{}, fmt.Errorf("encode snapshot of commit %d of %q: %w: %w", c.SequenceNr, c.Stream, ErrInvalid, err)
		}
		r.Snapshot = string(text)
	}
	return r, nil
}

func encodeCommand(a AnsweredCommand) headCommand {
	m := a.Meta
	h := headCommand{
		ID: m.ID, Fingerprint: a.Fingerprint, Events: a.EventCount, Causation: m.CausationID, Depth: m.Depth,
		Time: nanos(m.Time), User: m.User, IP: m.IP, Trace: m.TraceParent, Headers: m.Headers,
	}
	if m.CorrelationID != m.ID {
		h.Correlation = &m.CorrelationID
	}
	return h
}

func (h headCommand) decode() AnsweredCommand {
	a := AnsweredCommand{Fingerprint: h.Fingerprint, EventCount: h.Events, Meta: Meta{
		ID: h.ID, CorrelationID: h.ID, CausationID: h.Causation, Depth: h.Depth, Time: fromNanos(h.Time),
		User: h.User, IP: h.IP, TraceParent: h.Trace, Headers: h.Headers,
	}}
	if h.Correlation != nil {
		a.Meta.CorrelationID = *h.Correlation
	}
	return a
}

// nanos converts a time for storage; the zero time becomes 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// unreadable returns the error of a stored object of a commit: an [ErrUnsupported] if its
// version is unknown, otherwise a *[DamageError].
func unreadable(table, stream string, sequenceNr uint64, err error) error {
	if errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("%s: commit %d of %.100q: %w", table, sequenceNr, stream, err)
	}
	return &DamageError{Table: table, Key: stream, SequenceNr: sequenceNr, Cause: err}
}

// Commit returns the commit. The error is a *[DamageError] that names the commit, or an
// [ErrUnsupported] if its format is that of newer code. A snapshot that cannot be read is
// not an error, see [Commit].SnapshotErr.
func (r *StoredCommit) Commit() (Commit, error) {
	c := Commit{Stream: r.Stream, SequenceNr: r.SequenceNr, RecordedAt: r.RecordedAt}
	if err := r.decode(&c, nil); err != nil {
		return Commit{}, unreadable("commits", r.Stream, r.SequenceNr, err)
	}
	return c, nil
}

// decode fills in c. If payloads is not nil, it has the data of the events.
func (r *StoredCommit) decode(c *Commit, payloads []json.RawMessage) error {
	var h head
	if err := json.Unmarshal([]byte(r.Head), &h); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if h.Version != FormatVersion {
		return fmt.Errorf("its format has version %d, this program reads version %d: %w", h.Version, FormatVersion, ErrUnsupported)
	}
	if len(h.Events) == 0 || len(h.Commands) == 0 {
		return errors.New("head: no events or no commands")
	}
	c.LastSnapshot = h.LastSnapshot
	if payloads == nil {
		var err error
		if payloads, err = split([]byte(r.Events), h.Events); err != nil {
			return err
		}
	}
	if len(payloads) != len(h.Events) {
		return fmt.Errorf("%d events, the head has %d", len(payloads), len(h.Events))
	}
	c.Events = make([]Event, len(h.Events))
	for i, e := range h.Events {
		c.Events[i] = Event{Type: e.Type, Version: 1, Data: payloads[i]}
		if e.Version != nil {
			c.Events[i].Version = *e.Version
		}
	}
	c.Commands = make([]AnsweredCommand, len(h.Commands))
	left := len(h.Events)
	for i, command := range h.Commands {
		c.Commands[i] = command.decode()
		if i == len(h.Commands)-1 {
			c.Commands[i].EventCount = left
		}
		if left -= c.Commands[i].EventCount; left < 0 {
			return errors.New("head: the commands have more events than the commit")
		}
	}
	if r.Snapshot == "" {
		return nil
	}
	s, err := r.SnapshotHead()
	if err != nil {
		c.SnapshotErr = err
		return nil
	}
	s.State = json.RawMessage(r.State)
	c.Snapshot = &s
	return nil
}

// split returns the data of each event.
func split(data []byte, events []headEvent) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, len(events))
	for i, e := range events {
		n := e.Size
		if i == len(events)-1 {
			n = len(data)
		}
		if n < 0 || n > len(data) {
			return nil, errors.New("the events are incomplete")
		}
		out[i], data = data[:n:n], data[n:]
	}
	return out, nil
}

// SnapshotHead decodes only the snapshot, without its state. The errors are those of
// Commit.
func (r *StoredCommit) SnapshotHead() (Snapshot, error) {
	bad := func(err error) (Snapshot, error) {
		return Snapshot{}, unreadable("snapshots", r.Stream, r.SequenceNr, err)
	}
	var h snapshotHead
	if err := json.Unmarshal([]byte(r.Snapshot), &h); err != nil {
		return bad(err)
	}
	if h.Version != FormatVersion {
		return bad(fmt.Errorf("its format has version %d, this program reads version %d: %w", h.Version, FormatVersion, ErrUnsupported))
	}
	remembered, err := decodeRemembered(h.Remembered)
	if err != nil {
		return bad(err)
	}
	return Snapshot{
		SnapshotHead: SnapshotHead{Shape: h.Shape, StateVersion: h.StateVersion, Folded: h.Folded},
		From:         h.From, Since: fromNanos(h.Since), Remembered: remembered,
	}, nil
}

// encodeRemembered encodes commands, oldest first: for each the hash and the
// fingerprint with 8 and 4 bytes, then as varints the difference of the sequence
// number to that of the command before, and the number of events.
func encodeRemembered(commands []RememberedCommand) string {
	b := make([]byte, 0, 16*len(commands))
	last := uint64(0)
	for _, r := range commands {
		b = binary.BigEndian.AppendUint64(b, r.Hash)
		b = binary.BigEndian.AppendUint32(b, r.Fingerprint)
		b = binary.AppendVarint(b, int64(r.SequenceNr-last)) //nolint:gosec // a difference may wrap around
		b = binary.AppendVarint(b, int64(r.EventCount))
		last = r.SequenceNr
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

func decodeRemembered(text string) ([]RememberedCommand, error) {
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	commands := make([]RememberedCommand, 0, len(b)/14)
	last := uint64(0)
	for len(b) > 0 {
		if len(b) < 14 {
			return nil, errors.New("the remembered commands are incomplete")
		}
		r := RememberedCommand{Hash: binary.BigEndian.Uint64(b), Fingerprint: binary.BigEndian.Uint32(b[8:])}
		b = b[12:]
		step, n := binary.Varint(b)
		events, m := binary.Varint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, errors.New("the remembered commands are incomplete")
		}
		b = b[n+m:]
		r.SequenceNr, r.EventCount = last+uint64(step), int(events) //nolint:gosec // the reverse of the encoding
		last = r.SequenceNr
		commands = append(commands, r)
	}
	return commands, nil
}

// envelope is a commit as one JSON object, for transports.
type envelope struct {
	Stream     string            `json:"id"`
	SequenceNr uint64            `json:"sequenceNr"`
	RecordedAt time.Time         `json:"recordedAt,omitzero"`
	Head       json.RawMessage   `json:"head"`
	Events     []json.RawMessage `json:"events"`
}

// EncodeCommit encodes c as one JSON object, without its snapshot. Unlike json.Marshal
// it keeps the payloads byte for byte; decoding loses only white space around a
// payload. c must have passed [CheckCommit].
func EncodeCommit(c Commit) ([]byte, error) {
	c.Snapshot = nil
	r, err := StoreCommit(c)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(r.Head)+len(r.Events)+len(r.Stream)+128)
	b = append(b, `{"id":`...)
	b = appendString(b, c.Stream)
	b = append(b, `,"sequenceNr":`...)
	b = strconv.AppendUint(b, c.SequenceNr, 10)
	if !c.RecordedAt.IsZero() {
		b = append(b, `,"recordedAt":"`...)
		b = c.RecordedAt.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	b = append(append(b, `,"head":`...), r.Head...)
	b = append(b, `,"events":[`...)
	for i, e := range c.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e.Data...)
	}
	return append(b, "]}"...), nil
}

// DecodeCommit is the inverse of [EncodeCommit]. The errors are those of
// [StoredCommit.Commit]; with an error the commit has stream and sequence number, as far
// as they could be read.
func DecodeCommit(b []byte) (Commit, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		var place struct {
			Stream     string `json:"id"`
			SequenceNr uint64 `json:"sequenceNr"`
		}
		if json.Unmarshal(b, &place) != nil {
			place.Stream, place.SequenceNr = "", 0
		}
		return Commit{Stream: place.Stream, SequenceNr: place.SequenceNr}, unreadable("messages", place.Stream, place.SequenceNr, err)
	}
	r := StoredCommit{Head: string(e.Head)}
	c := Commit{Stream: e.Stream, SequenceNr: e.SequenceNr, RecordedAt: e.RecordedAt}
	if e.Events == nil {
		e.Events = []json.RawMessage{}
	}
	if err := r.decode(&c, e.Events); err != nil {
		return Commit{Stream: e.Stream, SequenceNr: e.SequenceNr}, unreadable("messages", e.Stream, e.SequenceNr, err)
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
