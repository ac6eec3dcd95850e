package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
)

// The domain of the tests: numbers are put into jars.

type Command interface {
	message.Typed
	isCommand()
}

type (
	// Put adds N to the jar.
	Put struct {
		N    int    `json:"n"`
		Note string `json:"note,omitempty"`
	}
	// Burst adds 1 to the jar, N times.
	Burst struct {
		N int `json:"n"`
	}
	// Claim gives the jar an owner; a second claim is rejected.
	Claim struct {
		By string `json:"by"`
	}
	// Release removes the owner; without an owner nothing happens.
	Release struct{}
	// Refuse is always rejected.
	Refuse struct {
		Code string `json:"code"`
	}
	// Explode panics in Decide.
	Explode struct {
		Text string `json:"text"`
	}
	// Crack leads to an event that panics in Evolve.
	Crack struct{}
)

func (Put) MessageType() string     { return "Put" }
func (Burst) MessageType() string   { return "Burst" }
func (Claim) MessageType() string   { return "Claim" }
func (Release) MessageType() string { return "Release" }
func (Refuse) MessageType() string  { return "Refuse" }
func (Explode) MessageType() string { return "Explode" }
func (Crack) MessageType() string   { return "Crack" }
func (Put) isCommand()              {}
func (Burst) isCommand()            {}
func (Claim) isCommand()            {}
func (Release) isCommand()          {}
func (Refuse) isCommand()           {}
func (Explode) isCommand()          {}
func (Crack) isCommand()            {}

type Event interface {
	message.Typed
	isEvent()
}

type (
	Added struct {
		N    int    `json:"n"`
		Note string `json:"note,omitempty"`
	}
	Claimed struct {
		By string `json:"by"`
	}
	Released struct{}
	Cracked  struct{}
)

func (Added) MessageType() string    { return "Added" }
func (Claimed) MessageType() string  { return "Claimed" }
func (Released) MessageType() string { return "Released" }
func (Cracked) MessageType() string  { return "Cracked" }
func (Added) isEvent()               {}
func (Claimed) isEvent()             {}
func (Released) isEvent()            {}
func (Cracked) isEvent()             {}

// Jar is the state of a jar.
type Jar struct {
	Sum   int    `json:"sum"`
	Count int    `json:"count"`
	By    string `json:"by"`
}

type (
	jarSpec      = aggregate.Spec[Jar, Command, Event]
	jarAggregate = aggregate.Aggregate[Jar, Command, Event]
	jarEvent     = message.Event[Event]
)

func decide(s Jar, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Put:
		return []Event{Added(c)}, nil
	case Burst:
		return slices.Repeat([]Event{Added{N: 1}}, c.N), nil
	case Claim:
		if s.By != "" {
			return nil, message.Reject("Taken", s.By)
		}
		return []Event{Claimed(c)}, nil
	case Release:
		if s.By == "" {
			return nil, nil
		}
		return []Event{Released{}}, nil
	case Refuse:
		return nil, message.Reject(c.Code)
	case Explode:
		panic(c.Text)
	case Crack:
		return []Event{Cracked{}}, nil
	}
	return nil, fmt.Errorf("no such command %T", c)
}

func evolve(s Jar, e Event) Jar {
	switch e := e.(type) {
	case Added:
		s.Sum, s.Count = s.Sum+e.N, s.Count+1
	case Claimed:
		s.By = e.By
	case Released:
		s.By = ""
	case Cracked:
		panic("the jar is cracked")
	}
	return s
}

func newJar(mods ...func(*jarSpec)) *jarAggregate {
	spec := jarSpec{
		Name:     "Jar",
		Commands: message.NewSet[Command](Put{}, Burst{}, Claim{}, Release{}, Refuse{}, Explode{}, Crack{}),
		Events:   message.NewSet[Event](Added{}, Claimed{}, Released{}, Cracked{}),
		Decide:   decide, Evolve: evolve,
	}
	for _, m := range mods {
		m(&spec)
	}
	return aggregate.New(spec)
}

// named sets the name of an aggregate.
func named(name string) func(*jarSpec) { return func(s *jarSpec) { s.Name = name } }

// SumRow is the sum and the count of numbers that were put into jars.
type SumRow struct {
	Sum   int `json:"sum"`
	Count int `json:"count"`
}

// sums returns a read model with a row for each jar.
func sums(source message.Source[Event], mods ...func(*readmodel.Spec[SumRow])) *readmodel.ReadModel[SumRow] {
	spec := readmodel.Spec[SumRow]{
		Name:        "Sums",
		Projections: []readmodel.Projection[SumRow]{readmodel.On(source, func(e jarEvent) readmodel.Changes[SumRow] { return addTo(e.EntityID, e) })},
	}
	for _, m := range mods {
		m(&spec)
	}
	return readmodel.New(spec)
}

func addTo(id string, e jarEvent) readmodel.Changes[SumRow] {
	a, ok := e.Data.(Added)
	if !ok {
		return nil
	}
	return readmodel.UpdateOrCreate(id, SumRow{}, func(r *SumRow) {
		r.Sum += a.N
		r.Count++
	})
}

// rule returns an automation with one rule.
func rule[E message.Typed](name string, source message.Source[E], react func(message.Event[E]) message.Actions, sends ...plugin.Component) *automation.Automation {
	return automation.New(automation.Spec{Name: name, Rules: automation.Rules{automation.On(source, react)}, Sends: sends})
}

// sideEffect returns a side effect on the events of an aggregate.
func sideEffect(name string, do func(context.Context, plugin.Env, jarEvent) error, source *jarAggregate) plugin.Component {
	return automation.NewSideEffect(automation.SideEffectSpec{Name: name, Effects: automation.Effects{automation.Do(source, do)}})
}

// app returns an App of one plugin Shop, which has no heartbeat.
func app(components ...plugin.Component) *reventless.App {
	return reventless.New("test", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: components}))
}

// run is a running App.
type run struct {
	*host.Host
	t      testing.TB
	clock  *reventlesstest.Clock
	memory *memory.Provider
	faults *faults.Provider
	lines  *lines
}

// setup is the configuration of a run.
type setup struct {
	clock    *reventlesstest.Clock
	memory   *memory.Provider
	limits   driver.Limits
	provider *faults.Options
	options  host.Options
	asleep   bool // not started
	changes  []func(*faults.Provider)
}

// on makes a host use the provider and the clock of another one, like a second or
// restarted process.
func on(other *run) func(*setup) {
	return func(s *setup) { s.clock, s.memory = other.clock, other.memory }
}

func limited(l driver.Limits) func(*setup) { return func(s *setup) { s.limits = l } }

func cold(s *setup) { s.options.CacheEntries = -1 }

func asleep(s *setup) { s.asleep = true }

// ownFeed gives a host every record instead of a share of them.
func ownFeed(s *setup) {
	s.provider = &faults.Options{Consumer: func(name string) string { return name + "/second" }}
}

func start(t testing.TB, app *reventless.App, with ...func(*setup)) *run {
	t.Helper()
	r := &run{t: t, lines: &lines{}}
	s := &setup{options: host.Options{
		Backoff: func(int) time.Duration { return 0 },
		Logger:  slog.New(slog.NewJSONHandler(r.lines, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}
	for _, f := range with {
		f(s)
	}
	if s.clock == nil {
		s.clock = reventlesstest.NewClock(time.Time{})
	}
	if s.options.Now == nil {
		s.options.Now = s.clock.Now
	}
	if s.memory == nil {
		s.memory = memory.New(&memory.Options{Now: s.clock.Now, Limits: s.limits})
		t.Cleanup(func() {
			if err := s.memory.Close(); err != nil {
				t.Errorf("close provider: %v", err)
			}
		})
	}
	r.clock, r.memory, r.faults = s.clock, s.memory, faults.New(s.memory, s.provider)
	for _, f := range s.changes {
		f(r.faults)
	}
	var err error
	if r.Host, err = host.Open(t.Context(), app.Assembled(), r.faults, &s.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	if !s.asleep {
		r.wake()
	}
	return r
}

// open opens a host without starting it, and closes it and its provider at the end of
// the test.
func open(t testing.TB, a *reventless.App, provider driver.Provider, opts *host.Options) *host.Host {
	t.Helper()
	var o host.Options
	if opts != nil {
		o = *opts
	}
	o.Logger = slog.New(slog.DiscardHandler)
	h, err := host.Open(t.Context(), a.Assembled(), provider, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), provider.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// wake starts the workers.
func (r *run) wake() {
	r.t.Helper()
	if err := r.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// work starts the workers and waits until the host is idle.
func (r *run) work() {
	r.t.Helper()
	r.wake()
	r.idle()
}

// finish waits until the host is idle, and wants nothing parked.
func (r *run) finish() {
	r.t.Helper()
	r.idle()
	r.wantNothingParked()
}

// redrive redrives a dead letter and wants it to succeed.
func (r *run) redrive(id string) {
	r.t.Helper()
	if err := r.Redrive(r.t.Context(), id); err != nil {
		r.t.Error(err)
	}
}

func (r *run) discard(id string) {
	r.t.Helper()
	if err := r.Discard(r.t.Context(), id); err != nil {
		r.t.Error(err)
	}
}

// stop closes the host.
func (r *run) stop() {
	if err := r.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// idle waits until the host is idle.
func (r *run) idle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.WaitIdle(ctx); err != nil {
		r.t.Fatalf("not idle: %v", err)
	}
}

// rest waits until several hosts of one provider are idle. A message that one of them
// has leased counts as work of the others until they look again.
func rest(hosts ...*run) {
	t := hosts[0].t
	t.Helper()
	quiet := 0
	for end := time.Now().Add(2 * time.Minute); quiet < 3; quiet++ {
		for _, r := range hosts {
			r.Wake()
		}
		for _, r := range hosts {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			err := r.WaitIdle(ctx)
			cancel()
			if err != nil {
				quiet = -1
			}
			if err != nil && time.Now().After(end) {
				t.Fatalf("not idle: %v", err)
			}
		}
	}
}

// advance moves the clock by d in steps, to each time at which something is due.
func (r *run) advance(d time.Duration) {
	r.t.Helper()
	for end := r.clock.Now().Add(d); ; {
		r.idle()
		next, ok := r.Next()
		if !ok || next.After(end) {
			r.clock.Advance(end.Sub(r.clock.Now()))
			r.Wake()
			r.idle()
			return
		}
		r.clock.Advance(max(next.Sub(r.clock.Now()), 0))
		r.Wake()
	}
}

// try sends a command with an id.
func (r *run) try(id string, s message.Send) (driver.Outcome, error) {
	return r.SendAction(context.Background(), id, driver.Meta{}, s.Erased())
}

// send sends a command and wants no error.
func (r *run) send(id string, s message.Send) driver.Outcome {
	r.t.Helper()
	o, err := r.try(id, s)
	if err != nil {
		r.t.Fatalf("send %s: %v", id, err)
	}
	return o
}

// accept sends a command and wants it accepted.
func (r *run) accept(id string, s message.Send) driver.Outcome {
	r.t.Helper()
	o := r.send(id, s)
	if o.Kind != driver.Accepted && o.Kind != driver.Pending {
		r.t.Fatalf("send %s: got %+v, want it accepted", id, o)
	}
	return o
}

// command returns a command in the form in which a queue stores it.
func command(id, entity string, c Command) driver.Command {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return driver.Command{Target: "Shop.Jar", Entity: entity, Type: c.MessageType(), Version: 1, Data: data, Meta: driver.Meta{ID: id}}
}

// enqueue puts commands into the queue of Shop.Jar, like another process.
func (r *run) enqueue(commands ...driver.Command) {
	r.t.Helper()
	topic, err := r.memory.OpenCommandTopic(r.t.Context(), "Shop.Jar")
	if err == nil {
		err = topic.Send(r.t.Context(), commands)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// commits returns the commits of a stream, or of the whole log if stream is empty.
func (r *run) commits(log, stream string) []driver.Commit {
	r.t.Helper()
	l, err := r.memory.OpenEventLog(r.t.Context(), log)
	if err != nil {
		r.t.Fatal(err)
	}
	seq := l.Scan(r.t.Context(), 0, 1)
	if stream != "" {
		seq = l.Read(r.t.Context(), stream, 0, 0)
	}
	var out []driver.Commit
	for c, err := range seq {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// history returns the events of a stream, each as "Type{data}".
func (r *run) history(log, stream string) []string {
	r.t.Helper()
	var out []string
	for _, c := range r.commits(log, stream) {
		for _, e := range c.Events {
			out = append(out, e.Type+string(e.Data))
		}
	}
	return out
}

// deadLetters returns all dead letters.
func (r *run) deadLetters() []driver.DeadLetter {
	r.t.Helper()
	l, err := r.DeadLetters().List(r.t.Context(), "", "", 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// deadLetter returns the only dead letter.
func (r *run) deadLetter() driver.DeadLetter {
	r.t.Helper()
	l := r.deadLetters()
	if len(l) != 1 {
		r.t.Fatalf("got %d dead letters, want 1: %+v", len(l), l)
	}
	return l[0]
}

// retried returns, by delivery id, whether a delivery is retried.
func retried(settlements []driver.Settlement, err error) map[string]bool {
	if err != nil {
		return map[string]bool{err.Error(): true}
	}
	out := map[string]bool{}
	for _, s := range settlements {
		out[s.ID] = s.Retry
	}
	return out
}

// wantParked wants a host to have n dead letters, and returns them.
func wantParked(t testing.TB, h *host.Host, n int) []driver.DeadLetter {
	t.Helper()
	letters, err := h.DeadLetters().List(t.Context(), "", "", 100)
	if err != nil || len(letters) != n {
		t.Fatalf("got the dead letters %+v, %v, want %d", letters, err, n)
	}
	return letters
}

func (r *run) wantNothingParked() {
	r.t.Helper()
	if l := r.deadLetters(); len(l) > 0 {
		r.t.Errorf("%d dead letters; the first: %+v", len(l), l[0])
	}
}

// rows returns the rows of a read model by id, or by "id/sub" if it has sub ids.
func rows[R any](r *run, m *readmodel.ReadModel[R]) map[string]R {
	r.t.Helper()
	name := r.App().NameOf(m.Definition())
	db, err := r.memory.OpenQueryEngine(r.t.Context(), []driver.TableSpec{{Name: name, SubID: m.Spec().SubID}})
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]R{}
	for cursor := ""; ; {
		page, err := db.Scan(r.t.Context(), driver.Scan{ReadModel: name, Limit: 1000, Cursor: cursor})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, row := range page.Rows {
			var v R
			if err := json.Unmarshal(row.Data, &v); err != nil {
				r.t.Fatal(err)
			}
			out[strings.ReplaceAll(row.Key.String(), "\x00", "/")] = v
		}
		if cursor = page.Cursor; cursor == "" {
			return out
		}
	}
}

// wantRows compares the rows of a read model.
func wantRows[R comparable](r *run, m *readmodel.ReadModel[R], want map[string]R) {
	r.t.Helper()
	wantEqual(r.t, "rows of "+m.Spec().Name, rows(r, m), want)
}

func wantEqual[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want)
	if g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func wantIs(t testing.TB, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("got %v, want a %q", err, class)
	}
}

// wantText checks that all texts are in s.
func wantText(t testing.TB, s string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(s, text) {
			t.Errorf("%q does not say %q", s, text)
		}
	}
}

// lines is a writer that keeps the log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.buf.String()), "\n")
}

// seeds runs a random test with n seeds; the name of each subtest contains its seed.
func seeds(t *testing.T, n int, f func(t *testing.T, seed uint64, rng *rand.Rand)) {
	first, given := testenv.Seed(t)
	if given {
		n = 1
	}
	for i := range n {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("REVENTLESS_SEED=%d", seed), func(t *testing.T) {
			t.Parallel()
			f(t, seed, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}
