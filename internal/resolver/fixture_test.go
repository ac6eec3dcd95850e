package resolver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/resolver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
)

// The domain of the tests: papers with an owner.

type (
	// Write creates or replaces a paper.
	Write struct {
		Owner string  `json:"owner"`
		Title string  `json:"title"`
		Size  float64 `json:"size"`
	}
	// Anyone may send Read, the user whose name is the paper's id Sign, and clerks
	// Stamp. Lose has no rule, and Burn is not in the API.
	Read  struct{}
	Sign  struct{}
	Stamp struct{}
	Lose  struct{}
	Burn  struct{}
	// Ask is always rejected, Spoil makes projections panic, Many leads to n events.
	Ask   struct{}
	Spoil struct{}
	Many  struct {
		N int16 `json:"n"`
	}
)

func (Write) MessageType() string { return "Write" }
func (Read) MessageType() string  { return "Read" }
func (Sign) MessageType() string  { return "Sign" }
func (Stamp) MessageType() string { return "Stamp" }
func (Lose) MessageType() string  { return "Lose" }
func (Burn) MessageType() string  { return "Burn" }
func (Ask) MessageType() string   { return "Ask" }
func (Spoil) MessageType() string { return "Spoil" }
func (Many) MessageType() string  { return "Many" }

type (
	// Written has the content of a paper; Lost means that it no longer exists.
	Written Write
	Lost    struct{}
	Noted   struct {
		N int `json:"n"`
	}
	Spoiled struct{}
)

func (Written) MessageType() string { return "Written" }
func (Lost) MessageType() string    { return "Lost" }
func (Noted) MessageType() string   { return "Noted" }
func (Spoiled) MessageType() string { return "Spoiled" }

type (
	command = message.Typed
	event   = message.Typed
	papers  = aggregate.Aggregate[struct{}, command, event]

	// Paper is a row.
	Paper struct {
		Owner string    `json:"owner"`
		Title string    `json:"title"`
		Size  float64   `json:"size"`
		At    time.Time `json:"at"`
		Done  bool      `json:"done"`
		Note  *string   `json:"note"`
		Tags  []string  `json:"tags"`
		Marks []float64 `json:"marks"`
		Flags []bool    `json:"flags"`
	}
	// Page is a row with a sub id.
	Page struct {
		Number string  `json:"number"`
		Owner  string  `json:"owner"`
		Words  float64 `json:"words"`
	}
)

func newPaper(name string, async bool) *papers {
	return aggregate.New(aggregate.Spec[struct{}, command, event]{
		Name: name, Async: async,
		Commands: message.NewSet[command](Write{}, Read{}, Sign{}, Stamp{}, Lose{}, Burn{}, Ask{}, Spoil{}, Many{}),
		Events:   message.NewSet[event](Written{}, Lost{}, Noted{}, Spoiled{}),
		Decide: func(_ struct{}, c command) ([]event, error) {
			switch c := c.(type) {
			case Write:
				return []event{Written(c)}, nil
			case Lose:
				return []event{Lost{}}, nil
			case Ask:
				return nil, message.Reject("NotNow", 7)
			case Spoil:
				return []event{Spoiled{}}, nil
			case Many:
				var out []event
				for i := range c.N {
					out = append(out, Noted{N: int(i)})
				}
				return out, nil
			case Read:
				return nil, nil
			}
			return []event{Noted{}}, nil
		},
		Evolve: func(s struct{}, _ event) struct{} { return s },
		Access: access.Rules{
			access.Owner("owner").Or(access.Roles("Clerk")).For(Write{}),
			access.Anyone.For(Read{}), access.Owner("id").For(Sign{}), access.Roles("Clerk").For(Stamp{}), access.Internal.For(Burn{}),
		},
	})
}

// view returns a read model of papers with an access rule.
func view(paper *papers, name string, rule access.Rule) *readmodel.ReadModel[Paper] {
	return readmodel.New(readmodel.Spec[Paper]{
		Name: name, Access: rule,
		Projections: readmodel.Projections[Paper]{readmodel.On(paper, func(e message.Event[event]) readmodel.Changes[Paper] {
			switch d := e.Data.(type) {
			case Written:
				return readmodel.Put(e.EntityID, Paper{Owner: d.Owner, Title: d.Title, Size: d.Size, At: e.RecordedAt})
			case Lost:
				return readmodel.Delete[Paper](e.EntityID)
			case Spoiled:
				panic("spoiled")
			}
			return nil
		})},
		Indexes: []readmodel.Index{
			{Name: "owner", Key: "owner", Sort: "size"},
			{Name: "title", Key: "title"},
			{Name: "size", Key: "size", Sort: "at", Include: []string{"title"}},
		},
	})
}

// The read models are named after the callers that may read them.
const (
	owned = "Shop.Papers"      // owners and clerks
	open  = "Shop.OpenPapers"  // anyone
	known = "Shop.KnownPapers" // authenticated callers
	staff = "Shop.StaffPapers" // clerks
	pages = "Shop.Pages"       // owners, with sub ids
)

func app() *reventless.App {
	paper, job := newPaper("Paper", false), newPaper("Job", true)
	components := []plugin.Component{
		paper, job,
		view(paper, "Papers", access.Owner("owner").Or(access.Roles("Clerk"))),
		view(paper, "OpenPapers", access.Anyone),
		view(paper, "KnownPapers", access.Rule{}),
		view(paper, "StaffPapers", access.Roles("Clerk")),
		view(paper, "SecretPapers", access.Internal),
		readmodel.New(readmodel.Spec[Page]{
			Name: "Pages", SubID: "number", Access: access.Owner("owner"),
			Projections: readmodel.Projections[Page]{readmodel.On(paper, func(message.Event[event]) readmodel.Changes[Page] { return nil })},
			Indexes:     []readmodel.Index{{Name: "owner", Key: "owner", Sort: "words"}},
		}),
	}
	return reventless.New("test", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: components}))
}

var (
	nobody = authz.Caller{}
	ada    = authz.Caller{User: "ada"}
	bob    = authz.Caller{User: "bob"}
	clerk  = authz.Caller{User: "carl", Roles: []string{"Clerk"}}
	admin  = authz.Caller{User: "root", Roles: []string{access.Admin}}
)

// run is an App on the memory provider.
type run struct {
	t testing.TB
	*resolver.Resolver
	host   *host.Host
	faults *faults.Provider
	api    *api.Schema
}

func start(t testing.TB, opts resolver.Options) *run {
	t.Helper()
	return startApp(t, app(), opts)
}

// startApp is start for a given App.
func startApp(t testing.TB, a *reventless.App, opts resolver.Options) *run {
	t.Helper()
	clock := reventlesstest.NewClock(time.Time{})
	provider := memory.New(&memory.Options{Now: clock.Now})
	r := &run{t: t, api: a.API(), faults: faults.New(provider, nil)}
	var err error
	r.host, err = host.Open(t.Context(), a.Assembled(), r.faults, &host.Options{
		Now: clock.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Backoff: func(int) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.host.Close(), provider.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	r.Resolver = resolver.New(r.host, opts)
	return r
}

// wake starts the workers.
func (r *run) wake() {
	r.t.Helper()
	if err := r.host.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.idle()
}

func (r *run) idle() {
	r.t.Helper()
	if err := r.host.WaitIdle(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

type object = map[string]any

// call makes a call of an operation.
func (r *run) call(kind api.OperationKind, name string, who authz.Caller, args object) resolver.Call {
	r.t.Helper()
	o := r.api.Operation(kind, name)
	if o == nil {
		r.t.Fatalf("no %s %s", kind, name)
	}
	return resolver.Call{Operation: o, Args: args, Who: who}
}

// code returns the code of an error, which must be a [resolver.Error].
func (r *run) code(err error) resolver.Code {
	r.t.Helper()
	if err == nil {
		return ""
	}
	var e *resolver.Error
	if !errors.As(err, &e) {
		r.t.Fatalf("%v is not a resolver.Error", err)
	}
	if e.Message == "" || strings.Contains(e.Message, string(e.Code)) {
		r.t.Errorf("the error says %q", e.Message)
	}
	return e.Code
}

// show decodes all fields of a value as the API shows them.
func (r *run) show(o *api.Operation, value json.RawMessage) any {
	r.t.Helper()
	var w api.Writer
	if !w.Value(o.Result, value, nil, o.Name) || len(w.Errors) > 0 {
		r.t.Fatalf("%s cannot be shown: %v: %s", o.Name, w.Errors, value)
	}
	var out any
	if err := json.Unmarshal(w.Bytes(), &out); err != nil {
		r.t.Fatalf("%s: %v: %s", o.Name, err, w.Bytes())
	}
	return out
}

// ask runs a query or mutation that may fail.
func (r *run) ask(kind api.OperationKind, name string, who authz.Caller, args object) (any, resolver.Code) {
	r.t.Helper()
	c := r.call(kind, name, who, args)
	value, err := r.Resolve(r.t.Context(), c)
	if err != nil {
		return nil, r.code(err)
	}
	return r.show(c.Operation, value), ""
}

// query runs a query that succeeds.
func (r *run) query(name string, who authz.Caller, args object) any {
	r.t.Helper()
	v, code := r.ask(api.Query, name, who, args)
	if code != "" {
		r.t.Fatalf("%s %v: %s", name, args, code)
	}
	return v
}

// send sends a command that gets an answer.
func (r *run) send(name string, who authz.Caller, args object) object {
	r.t.Helper()
	v, code := r.ask(api.Mutation, name, who, args)
	if code != "" {
		r.t.Fatalf("%s %v: %s", name, args, code)
	}
	return v.(object)
}

// wantCode checks the code of a call; empty means no error.
func (r *run) wantCode(kind api.OperationKind, name string, who authz.Caller, args object, want resolver.Code) {
	r.t.Helper()
	if _, code := r.ask(kind, name, who, args); code != want {
		r.t.Errorf("%s %v by %q: got %q, want %q", name, args, who.User, code, want)
	}
}

// page is a page of a list.
type page struct {
	ids            []string // of the nodes, with the number of a page behind
	cursors        []string
	next, previous bool
	start, end     string
	nodes          []object
}

func (r *run) page(name string, who authz.Caller, args object) page {
	r.t.Helper()
	var p page
	v := r.query(name, who, args).(object)
	for _, e := range v["edges"].([]any) {
		edge := e.(object)
		node := edge["node"].(object)
		id := fmt.Sprint(node["id"])
		if n, ok := node["number"]; ok {
			id += "/" + fmt.Sprint(n)
		}
		p.ids, p.cursors, p.nodes = append(p.ids, id), append(p.cursors, edge["cursor"].(string)), append(p.nodes, node)
	}
	info := v["pageInfo"].(object)
	p.next, p.previous = info["hasNextPage"].(bool), info["hasPreviousPage"].(bool)
	p.start, _ = info["startCursor"].(string)
	p.end, _ = info["endCursor"].(string)
	if len(p.cursors) > 0 && (p.start != p.cursors[0] || p.end != p.cursors[len(p.cursors)-1]) || len(p.cursors) == 0 && (info["startCursor"] != nil || info["endCursor"] != nil) {
		r.t.Errorf("%s: the cursors of the page are %q and %q, those of the edges %q", name, p.start, p.end, p.cursors)
	}
	return p
}

// save stores a row without a projection.
func (r *run) save(readModel, id string, row any) {
	r.t.Helper()
	data, err := json.Marshal(row)
	if err != nil {
		r.t.Fatal(err)
	}
	key := driver.Key{ID: id}
	if p, ok := row.(Page); ok {
		key.Sub = p.Number
	}
	db, _ := r.host.QueryDb(readModel)
	write := driver.RowWrite{Row: driver.Row{Key: key, Data: data}}
	if err := db.Apply(r.t.Context(), driver.Step{Writes: []driver.RowWrite{write}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) remove(readModel, id, sub string) {
	r.t.Helper()
	db, _ := r.host.QueryDb(readModel)
	write := driver.RowWrite{Row: driver.Row{Key: driver.Key{ID: id, Sub: sub}}, Delete: true}
	if err := db.Apply(r.t.Context(), driver.Step{Writes: []driver.RowWrite{write}}); err != nil {
		r.t.Fatal(err)
	}
}

func wantEqual[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want)
	if g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// words joins values with spaces.
func words(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }

// with returns arguments with more of them.
func with(args object, more ...any) object {
	out := maps.Clone(args)
	if out == nil {
		out = object{}
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i].(string)] = more[i+1]
	}
	return out
}

// seeds runs a random test with n seeds, which are the names of the subtests;
// REVENTLESS_SEED repeats one.
func seeds(t *testing.T, n int, f func(t *testing.T, rng *rand.Rand)) {
	first := rand.Uint64N(1 << 40)
	if s := os.Getenv("REVENTLESS_SEED"); s != "" {
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("REVENTLESS_SEED: %v", err)
		}
		n = 1
	}
	for i := range n {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("REVENTLESS_SEED=%d", seed), func(t *testing.T) {
			t.Parallel()
			f(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}
