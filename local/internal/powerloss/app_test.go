//go:build linux

package powerloss

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/task"
)

// The App has two aggregates that record notes, Desk and Post; Post is asynchronous. An
// automation forwards some notes of Desk to Post, and a task sends Post a note for each
// file. The read model has a row for each
// entity. All that is stored follows from the id of the note's command, so a reader knows
// what must be in the store.

type (
	noteCommand interface{ message.Typed }
	noteEvent   interface{ message.Typed }
	// note is a command that leads to one to three events.
	note struct{ Note string }
	// audit is a command that leads to an event with the digest of the state.
	audit   struct{}
	noted   struct{ ID, Text string }
	audited struct{ Digest string }
	// notes is the state: the digest of the events.
	notes struct{ Digest string }
	// row has the ids of the events of an entity, in the order of each log.
	row struct{ Desk, Post []string }
)

func (note) MessageType() string    { return "Note" }
func (audit) MessageType() string   { return "Audit" }
func (noted) MessageType() string   { return "Noted" }
func (audited) MessageType() string { return "Audited" }

func hash(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// eventsOf returns the events of a note. Most are small, some take several pages.
func eventsOf(id string) (events []noteEvent) {
	h := hash(id)
	for i := range 1 + h[0]%3 {
		size := 20 + int(h[1])
		if h[2+i] < 48 {
			size *= 40
		}
		text := hex.EncodeToString(h[:])
		events = append(events, noted{fmt.Sprintf("%s#%d", id, i), strings.Repeat(text, 1+size/len(text))[:size]})
	}
	return events
}

// forwarded reports whether the automation sends a note to Post for an event of Desk.
func forwarded(eventID string) bool { return hash(eventID)[8]%3 == 0 }

func (s notes) with(e noteEvent) notes {
	n, ok := e.(noted)
	if !ok {
		return s
	}
	h := hash(s.Digest + n.ID + n.Text)
	return notes{hex.EncodeToString(h[:8])}
}

type app struct {
	*reventless.App
	desk, post *aggregate.Aggregate[notes, noteCommand, noteEvent]
	files      *task.Bucket
}

func newApp() *app {
	a := &app{files: task.NewBucket(task.BucketSpec{Name: "Files"})}
	notesOf := func(name string, async bool) *aggregate.Aggregate[notes, noteCommand, noteEvent] {
		return aggregate.New(aggregate.Spec[notes, noteCommand, noteEvent]{
			Name: name, Async: async, SnapshotEvery: 10,
			Commands: message.NewSet[noteCommand](note{}, audit{}), Events: message.NewSet[noteEvent](noted{}, audited{}),
			Decide: func(s notes, c noteCommand) ([]noteEvent, error) {
				if n, ok := c.(note); ok {
					return eventsOf(n.Note), nil
				}
				return []noteEvent{audited(s)}, nil
			},
			Evolve: func(s notes, e noteEvent) notes { return s.with(e) },
		})
	}
	a.desk, a.post = notesOf("Desk", false), notesOf("Post", true)
	rows := readmodel.New(readmodel.Spec[row]{
		Name: "Notes",
		Projections: readmodel.Projections[row]{
			readmodel.On(a.desk, func(e message.Event[noteEvent]) readmodel.Changes[row] {
				return change(e, func(r *row, id string) { r.Desk = append(r.Desk, id) })
			}),
			readmodel.On(a.post, func(e message.Event[noteEvent]) readmodel.Changes[row] {
				return change(e, func(r *row, id string) { r.Post = append(r.Post, id) })
			}),
		},
	})
	forward := automation.New(automation.Spec{
		Name: "Forward",
		Rules: automation.Rules{automation.On(a.desk, func(e message.Event[noteEvent]) message.Actions {
			n, ok := e.Data.(noted)
			if !ok || !forwarded(n.ID) {
				return nil
			}
			return message.Actions{a.post.To(e.EntityID, note{"forward/" + n.ID})}
		})},
		Sends: plugin.Components{a.post},
	})
	intake := task.New(task.Spec{
		Name: "Intake", Bucket: a.files, Sends: plugin.Components{a.post},
		Created: func(_ context.Context, _ plugin.Env, o task.Object) (message.Actions, error) {
			_, entity := target(o.Key)
			return message.Actions{a.post.To(entity, note{"filed/" + o.Key})}, nil
		},
	})
	a.App = reventless.New("notes", plugin.New(plugin.Spec{
		Name: "Test", Heartbeat: -1, Components: plugin.Components{a.desk, a.post, rows, forward, a.files, intake},
	}))
	return a
}

func change(e message.Event[noteEvent], f func(r *row, id string)) readmodel.Changes[row] {
	n, ok := e.Data.(noted)
	if !ok {
		return nil
	}
	return readmodel.UpdateOrCreate(e.EntityID, row{}, func(r *row) { f(r, n.ID) })
}

func (a *app) open(ctx context.Context, path string, log io.Writer) (*local.Host, error) {
	return local.Open(ctx, a.App, path, &local.Options{
		Logger:  slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	})
}

// target is what the id of a command says: "desk/<entity>/<rest>", "post/…", "file/…".
func target(id string) (kind, entity string) {
	kind, rest, _ := strings.Cut(id, "/")
	entity, _, _ = strings.Cut(rest, "/")
	return kind, entity
}

// ack is a line that the writer prints once a command is acknowledged.
type ack struct {
	ID     string
	Kind   string
	Seq    uint64
	Events int
}

// send sends the command of an id, or stores the file of an id.
func (a *app) send(ctx context.Context, h *local.Host, id string) (ack, error) {
	kind, entity := target(id)
	if kind == "file" {
		err := a.files.Open(h.Env()).Put(ctx, id, bytes.NewReader(fileOf(id)))
		return ack{ID: id, Kind: "stored"}, err
	}
	to := a.desk
	if kind == "post" {
		to = a.post
	}
	o, err := h.Send(ctx, id, to.To(entity, note{id}))
	return ack{id, string(o.Kind), o.SequenceNr, o.EventCount}, err
}

func fileOf(id string) []byte {
	return bytes.Repeat([]byte(id+"\n"), 1+int(hash(id)[0])*4)
}

// check opens the database and returns what is wrong with it, given what was
// acknowledged and which ids were sent.
func check(ctx context.Context, path string, acks []ack, sent []string) error {
	a := newApp()
	var log lockedBuffer
	h, err := a.open(ctx, path, &log)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = a.checkOpen(ctx, h, acks, sent)
	if err == nil && log.String() != "" {
		err = fmt.Errorf("the host logged %.1000s", log.String())
	}
	return errors.Join(err, h.Close())
}

// stored is what is in the log of an entity.
type stored struct {
	kind, entity string
	events       []string       // the ids of the noted events
	seqs         map[string]ack // where the commands are, by command id
	notes        map[string]int // how often a note was applied, by its id
	state        notes
}

func (a *app) checkOpen(ctx context.Context, h *local.Host, acks []ack, sent []string) error {
	all, err := readLogs(ctx, h, sent)
	if err != nil {
		return err
	}
	for _, k := range acks {
		kind, entity := target(k.ID)
		if k.Kind == string(driver.Accepted) && all[kind+"/"+entity].seqs[k.ID] != k {
			return fmt.Errorf("acknowledged was %+v, the log has %+v", k, all[kind+"/"+entity].seqs[k.ID])
		}
	}
	// A command that is sent again gets the same answer.
	var errs []error
	for i := len(acks) - 1; i >= 0 && i >= len(acks)-4; i-- {
		if acks[i].Kind != string(driver.Accepted) {
			continue
		}
		if again, err := a.send(ctx, h, acks[i].ID); err != nil {
			errs = append(errs, fmt.Errorf("%s sent again: %w", acks[i].ID, err))
		} else if again != acks[i] {
			errs = append(errs, fmt.Errorf("acknowledged was %+v, and now %+v", acks[i], again))
		}
	}
	if err := h.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := h.WaitIdle(ctx); err != nil {
		return fmt.Errorf("wait until it is idle: %w", err)
	}
	if all, err = readLogs(ctx, h, sent); err != nil {
		return err
	}
	errs = append(errs, a.checkAcks(ctx, h, all, acks), checkForwarded(all), checkRows(ctx, h, all))
	_, err = h.Verify(ctx, func(damage error) { errs = append(errs, damage) })
	errs = append(errs, err)
	letters, err := h.Parked(ctx, "")
	errs = append(errs, err)
	for _, l := range letters {
		errs = append(errs, fmt.Errorf("parked: %s of %s: %s", l.Kind, l.Component, l.Reason))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return a.checkState(ctx, h, all)
}

// readLogs reads the logs of all entities, by kind and entity.
func readLogs(ctx context.Context, h *local.Host, sent []string) (map[string]*stored, error) {
	all := map[string]*stored{}
	for _, kind := range []string{"desk", "post"} {
		for _, id := range sent {
			_, entity := target(id)
			if key := kind + "/" + entity; all[key] == nil {
				s, err := readLog(ctx, h, kind, entity)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", key, err)
				}
				all[key] = s
			}
		}
	}
	return all, nil
}

// readLog reads the log of an entity, which must be without gaps, and contain each
// command once with all of its events.
func readLog(ctx context.Context, h *local.Host, kind, entity string) (*stored, error) {
	s := &stored{kind: kind, entity: entity, seqs: map[string]ack{}, notes: map[string]int{}}
	seq := uint64(0)
	for c, err := range h.Events(ctx, strings.ToUpper(kind[:1])+kind[1:], entity) {
		if err != nil {
			return nil, err
		}
		if seq++; c.SequenceNr != seq {
			return nil, fmt.Errorf("commit %d comes after %d", c.SequenceNr, seq-1)
		}
		events := c.Events
		for _, command := range c.Commands {
			if s.seqs[command.Meta.ID] != (ack{}) {
				return nil, fmt.Errorf("command %s is in the log twice", command.Meta.ID)
			}
			s.seqs[command.Meta.ID] = ack{command.Meta.ID, string(driver.Accepted), seq, command.EventCount}
			if err := s.add(command, events[:command.EventCount]); err != nil {
				return nil, fmt.Errorf("commit %d: %w", seq, err)
			}
			events = events[command.EventCount:]
		}
		if len(events) > 0 {
			return nil, fmt.Errorf("commit %d has events without a command", seq)
		}
	}
	return s, nil
}

func (s *stored) add(command driver.AnsweredCommand, events []driver.Event) error {
	if events[0].Type != (noted{}).MessageType() {
		return nil
	}
	var got []noteEvent
	for _, e := range events {
		var n noted
		if err := json.Unmarshal(e.Data, &n); err != nil {
			return err
		}
		got = append(got, n)
		s.events = append(s.events, n.ID)
		s.state = s.state.with(n)
	}
	last := s.events[len(s.events)-1] // "<id of the note>#<number>"; a forwarded id has two
	id := last[:max(0, strings.LastIndex(last, "#"))]
	s.notes[id]++
	if kind, entity := target(id); kind != "forward" && kind != "filed" && (id != command.Meta.ID || kind != s.kind || entity != s.entity) {
		return fmt.Errorf("command %s has the events of %s", command.Meta.ID, id)
	}
	if !reflect.DeepEqual(got, eventsOf(id)) {
		return fmt.Errorf("the events of %s are %.300v", id, got)
	}
	return nil
}

func (a *app) checkAcks(ctx context.Context, h *local.Host, all map[string]*stored, acks []ack) error {
	for _, k := range acks {
		kind, entity := target(k.ID)
		if kind == "file" {
			body, err := a.files.Open(h.Env()).Get(ctx, k.ID)
			if err != nil {
				return fmt.Errorf("the stored file %s: %w", k.ID, err)
			}
			content, err := io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err != nil {
				return fmt.Errorf("the stored file %s: %w", k.ID, err)
			}
			if !bytes.Equal(content, fileOf(k.ID)) {
				return fmt.Errorf("the stored file %s has %d bytes of other content", k.ID, len(content))
			}
			if all["post/"+entity].notes["filed/"+k.ID] == 0 {
				return fmt.Errorf("the task has not seen the stored file %s", k.ID)
			}
			continue
		}
		got, ok := all[kind+"/"+entity].seqs[k.ID]
		if !ok {
			return fmt.Errorf("%s was acknowledged and is not in the log", k.ID)
		}
		if k.Kind == string(driver.Pending) {
			if o, err := h.Outcome(ctx, "Test.Post", k.ID); err != nil {
				return fmt.Errorf("the outcome of %s: %w", k.ID, err)
			} else if o.Kind != driver.Accepted || o.SequenceNr != got.Seq {
				return fmt.Errorf("the outcome of %s is %+v, the log has %+v", k.ID, o, got)
			}
		}
	}
	return nil
}

// checkForwarded checks that each event of Desk was reacted to once.
func checkForwarded(all map[string]*stored) error {
	for _, s := range all {
		if s.kind != "desk" {
			continue
		}
		want := map[string]int{}
		for _, id := range s.events {
			if forwarded(id) {
				want["forward/"+id]++
			}
		}
		got := maps.Clone(all["post/"+s.entity].notes)
		maps.DeleteFunc(got, func(id string, _ int) bool { return !strings.HasPrefix(id, "forward/") })
		if !maps.Equal(got, want) {
			return fmt.Errorf("forwarded for %s is %v, want %v", s.entity, got, want)
		}
	}
	return nil
}

// checkRows checks that the read model has what is in the logs, in their order.
func checkRows(ctx context.Context, h *local.Host, all map[string]*stored) error {
	want := map[string]row{}
	for _, s := range all {
		if len(s.events) == 0 {
			continue
		}
		r := want[s.entity]
		if s.kind == "desk" {
			r.Desk = s.events
		} else {
			r.Post = s.events
		}
		want[s.entity] = r
	}
	got := map[string]row{}
	for r, err := range h.Rows(ctx, "Notes", "") {
		if err != nil {
			return err
		}
		var v row
		if err := json.Unmarshal(r.Data, &v); err != nil {
			return err
		}
		got[r.ID] = v
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the rows are %.2000v, want %.2000v", got, want)
	}
	return nil
}

// checkState checks the states from which commands are decided, which begin with
// snapshots, and that the database can be written.
func (a *app) checkState(ctx context.Context, h *local.Host, all map[string]*stored) error {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		s := all[key]
		if s.kind != "desk" {
			continue
		}
		o, err := h.Send(ctx, "", a.desk.To(s.entity, audit{}))
		if err != nil {
			return fmt.Errorf("a new command of %s: %w", s.entity, err)
		}
		var last audited
		for c, err := range h.Events(ctx, "Desk", s.entity) {
			if err != nil {
				return err
			}
			if c.SequenceNr == o.SequenceNr {
				if err := json.Unmarshal(c.Events[0].Data, &last); err != nil {
					return err
				}
			}
		}
		if last.Digest != s.state.Digest {
			return fmt.Errorf("the state of %s is %q, want %q", s.entity, last.Digest, s.state.Digest)
		}
	}
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
