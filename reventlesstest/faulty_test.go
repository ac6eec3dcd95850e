package reventlesstest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/task"
)

// This file contains components with faults, and tests that detect them.

var errEOF = io.ErrUnexpectedEOF

type (
	bookSpecOf = aggregate.Spec[BookState, BookCommand, BookEvent]
	bookTest   = reventlesstest.AggregateTest[BookState, BookCommand, BookEvent]
)

// unlisted satisfies BookEvent and BookCommand but is in no set.
type unlisted struct{}

func (unlisted) MessageType() string { return "Unlisted" }
func (unlisted) isBookEvent()        {}
func (unlisted) isBookCommand()      {}

// leaky loses a field in JSON.
type leaky struct {
	Book string `json:"book"`
	note string
	Note string `json:"-"`
}

func (leaky) MessageType() string { return "Leaky" }
func (leaky) isBookEvent()        {}
func (leaky) isBookCommand()      {}

func TestFaultyAggregates(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	for name, c := range map[string]struct {
		spec func(*bookSpecOf)
		test func(*bookTest)
		want string
	}{
		"Evolve changes a slice in place": {
			func(s *bookSpecOf) {
				s.Evolve = func(s BookState, e BookEvent) BookState {
					if len(s.Readers) > 0 {
						s.Readers[0] = "nobody"
						return s
					}
					return evolveBook(s, e)
				}
			},
			func(a *bookTest) { a.Given(Lent{"ada", 7}).When(TakeBack{}) },
			"Evolve of Returned changes the state that it gets; copy maps and slices before you change them",
		},
		"Decide changes the state": {
			func(s *bookSpecOf) {
				s.Decide = func(s BookState, c BookCommand) ([]BookEvent, error) {
					if len(s.Readers) > 0 {
						s.Readers[0] = "nobody"
					}
					return nil, nil
				}
			},
			func(a *bookTest) { a.Given(Lent{"ada", 7}).When(TakeBack{}) },
			"Decide of TakeBack changes the state that it gets",
		},
		"Decide depends on more than its arguments": {
			func(s *bookSpecOf) {
				s.Decide = func(BookState, BookCommand) ([]BookEvent, error) {
					return []BookEvent{Lent{Days: int(calls.Add(1))}}, nil
				}
			},
			func(a *bookTest) { a.When(TakeBack{}) },
			"Decide is not pure",
		},
		"Evolve depends on more than its arguments": {
			func(s *bookSpecOf) {
				s.Evolve = func(s BookState, _ BookEvent) BookState {
					s.Member = fmt.Sprint(calls.Add(1))
					return s
				}
			},
			func(a *bookTest) { a.Given(Lent{}) },
			"Evolve of Lent is not pure",
		},
		"Decide returns a rejection and events": {
			func(s *bookSpecOf) {
				s.Decide = func(BookState, BookCommand) ([]BookEvent, error) { return []BookEvent{Lent{}}, io.EOF }
			},
			func(a *bookTest) { a.When(TakeBack{}) },
			"returns 1 events together with the rejection EOF",
		},
		"Decide returns an event that is not in the set": {
			func(s *bookSpecOf) {
				s.Decide = func(BookState, BookCommand) ([]BookEvent, error) { return []BookEvent{unlisted{}}, nil }
			},
			func(a *bookTest) { a.When(TakeBack{}) },
			"event 1 that Decide of TakeBack returns: unknown type: reventlesstest_test.unlisted is not listed",
		},
		"an event that is not in the set": {
			func(*bookSpecOf) {},
			func(a *bookTest) { a.Given(unlisted{}) },
			"step 1 (Given): event 1: unknown type",
		},
		"a command that is not in the set": {
			func(*bookSpecOf) {},
			func(a *bookTest) { a.When(unlisted{}) },
			"step 1 (When): unknown type",
		},
		"an event that loses a field": {
			func(s *bookSpecOf) { s.Events = message.NewSet[BookEvent](leaky{}) },
			func(a *bookTest) { a.Given(leaky{Note: "lost"}) },
			"Leaky does not survive JSON",
		},
		"a rejection whose detail is not JSON": {
			func(s *bookSpecOf) {
				s.Decide = func(BookState, BookCommand) ([]BookEvent, error) {
					return nil, message.Reject("Bad", func() {})
				}
			},
			func(a *bookTest) { a.When(TakeBack{}) },
			"detail of rejection Bad",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := bookSpec()
			c.spec(&spec)
			a := aggregate.New(spec)
			fails(t, func(t testing.TB) { c.test(reventlesstest.Aggregate(t, a)) }, "aggregate Book, step ", c.want)
		})
	}
}

// grudge is a state that loses a part in JSON.
type grudge struct{ Names oddJSON }

type oddJSON struct{ names []string }

func (oddJSON) MarshalJSON() ([]byte, error) { return []byte(`"odd"`), nil }
func (*oddJSON) UnmarshalJSON([]byte) error  { return nil }
func (o oddJSON) with(n string) oddJSON {
	return oddJSON{append(o.names[:len(o.names):len(o.names)], n)}
}
func evolveGrudge(s grudge, _ BookEvent) grudge { return grudge{s.Names.with("x")} }

func TestStateThatASnapshotLoses(t *testing.T) {
	t.Parallel()
	spec := aggregate.Spec[grudge, BookCommand, BookEvent]{
		Name: "Grudge", Commands: bookSpec().Commands, Events: bookSpec().Events, Evolve: evolveGrudge,
		Decide: func(s grudge, _ BookCommand) ([]BookEvent, error) {
			if len(s.Names.names) > 1 {
				return nil, message.Reject("Enough")
			}
			return nil, nil
		},
	}
	a := aggregate.New(spec)
	fails(t, func(t testing.TB) {
		reventlesstest.Aggregate(t, a).Given(Lent{}, Lent{}).When(TakeBack{}).ThenRejected("Enough")
	}, "Decide returns another result when the state comes from a snapshot", "from events:   rejected Enough", "from snapshot: nothing")

	spec.SnapshotEvery = -1
	b := aggregate.New(spec)
	passes(t, func(t testing.TB) {
		reventlesstest.Aggregate(t, b).Given(Lent{}, Lent{}).When(TakeBack{}).ThenRejected("Enough")
	})
}

func TestHandles(t *testing.T) {
	t.Parallel()
	passes(t, func(t testing.TB) { reventlesstest.Handles(t, Book) })
	for name, c := range map[string]struct {
		spec func(*bookSpecOf)
		want []string
	}{
		"a type that the code does not know": {
			func(s *bookSpecOf) {
				s.Commands = message.NewSet[BookCommand](Lend{}, unlisted{})
				s.Evolve = func(s BookState, e BookEvent) BookState {
					if _, ok := e.(Returned); ok {
						panic("what is this?")
					}
					return s
				}
			},
			[]string{
				"aggregate Book: Evolve of a zero Returned: it panics: what is this?",
				"aggregate Book: Decide of a zero Unlisted, in the initial state: it panics: unknown command",
			},
		},
		"an event that is not listed": {
			func(s *bookSpecOf) { s.Events = message.NewSet[BookEvent](Returned{}) },
			[]string{"Decide of a zero Lend, in the initial state: event 1 that Decide of Lend returns: unknown type"},
		},
		"a state changed in place": {
			func(s *bookSpecOf) {
				s.Initial.Readers = []string{"first"}
				s.Evolve = func(s BookState, e BookEvent) BookState {
					s.Readers[0] += "!"
					return s
				}
			},
			[]string{"Evolve of a zero Lent: Evolve of Lent changes the state that it gets"},
		},
		"fields that JSON loses": {
			func(s *bookSpecOf) {
				s.Events = message.NewSet[BookEvent](Lent{}, Returned{}, leaky{})
				s.Commands = message.NewSet[BookCommand](Lend{}, TakeBack{}, twins{})
				decide := s.Decide
				s.Decide = func(s BookState, c BookCommand) ([]BookEvent, error) {
					if _, ok := c.(twins); ok {
						return nil, nil
					}
					return decide(s, c)
				}
			},
			[]string{
				"event Leaky: field note is not exported, so JSON loses it",
				"command Twins does not survive JSON",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := bookSpec()
			c.spec(&spec)
			a := aggregate.New(spec)
			fails(t, func(t testing.TB) { reventlesstest.Handles(t, a) }, c.want...)
		})
	}
}

// twins has two fields with the same JSON name, so JSON contains neither.
type twins struct {
	One
	Other
}

type (
	One   struct{ X string }
	Other struct{ X string }
)

func (twins) MessageType() string { return "Twins" }
func (twins) isBookCommand()      {}

// spy returns a read model that records its events.
func spy(seen *[]message.Event[BookEvent]) *readmodel.ReadModel[Reading] {
	return projecting(func(e message.Event[BookEvent]) readmodel.Changes[Reading] {
		*seen = append(*seen, e)
		return nil
	})
}

func projecting(f func(message.Event[BookEvent]) readmodel.Changes[Reading]) *readmodel.ReadModel[Reading] {
	return readmodel.New(readmodel.Spec[Reading]{
		Name: "Spied", SubID: "book", Projections: readmodel.Projections[Reading]{readmodel.On(Book, f)},
	})
}

// leakyRow loses a field in JSON.
type leakyRow struct {
	Member string `json:"member"`
	Secret string `json:"-"`
}

func TestFaultyProjections(t *testing.T) {
	t.Parallel()
	type changes = readmodel.Changes[Reading]
	dune := event("dune", Lent{Member: "ada"})
	calls := 0
	for name, c := range map[string]struct {
		project func(message.Event[BookEvent]) changes
		want    string
	}{
		"not pure": {func(message.Event[BookEvent]) changes {
			calls++
			return readmodel.Put("ada", Reading{"dune", calls})
		}, "the projection is not pure: rows differ when the event is projected again"},
		"a change that counts its calls": {func(message.Event[BookEvent]) changes {
			n := 0
			return readmodel.UpdateOrCreate("ada", Reading{Book: "dune"}, func(r *Reading) { n++; r.Times = n })
		}, "rows differ when its changes are applied again, as after a conflict"},
		"without sub id": {func(message.Event[BookEvent]) changes {
			return readmodel.Put("ada", Reading{})
		}, "sub id is empty"},
		"without id": {func(message.Event[BookEvent]) changes {
			return readmodel.Put("", Reading{Book: "dune"})
		}, "row id is empty"},
		"an update of all": {func(message.Event[BookEvent]) changes {
			return readmodel.Update("ada", func(*Reading) {})
		}, "needs UpdateRow or UpdateRows"},
		"an update of none": {func(message.Event[BookEvent]) changes {
			return readmodel.UpdateRow("ada", "dune", func(*Reading) {})
		}, `row "ada"/"dune": update: the row is missing: not found`},
		"an update that moves the row": {func(message.Event[BookEvent]) changes {
			return slices.Concat(
				readmodel.Put("ada", Reading{Book: "dune"}),
				readmodel.UpdateRow("ada", "dune", func(r *Reading) { r.Book = "emma" }),
			)
		}, "does not equal the sub id"},
		"two rows of one sub id": {func(message.Event[BookEvent]) changes {
			return readmodel.UpdateRows("ada", func([]Reading) []Reading { return []Reading{{"dune", 1}, {"dune", 2}} })
		}, `two rows have the sub id "dune"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := projecting(c.project)
			fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, m).Given(dune) }, "read model Spied, step 1 (Given)", c.want)
		})
	}
	t.Run("a foreign row", func(t *testing.T) {
		t.Parallel()
		m := readmodel.New(readmodel.Spec[Loan]{Name: "Own", OwnRow: true, Projections: readmodel.Projections[Loan]{
			readmodel.On(Book, func(e message.Event[BookEvent]) readmodel.Changes[Loan] {
				return readmodel.Put("emma", Loan{})
			}),
		}})
		fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, m).Given(dune).ThenRowCount(1) },
			`a change of row "emma" by an event of "dune", in a read model that declares OwnRow`)
		passes(t, func(t testing.TB) {
			reventlesstest.ReadModel(t, m).Given(dune).ThenError(driver.ErrInvalid).ThenRowCount(0)
		})
	})
	t.Run("a row that loses a field", func(t *testing.T) {
		t.Parallel()
		m := readmodel.New(readmodel.Spec[leakyRow]{Name: "Leaks", Projections: readmodel.Projections[leakyRow]{
			readmodel.On(Book, func(e message.Event[BookEvent]) readmodel.Changes[leakyRow] {
				return readmodel.Put(e.EntityID, leakyRow{"ada", "lost"})
			}),
		}})
		fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, m).Given(dune).ThenRowCount(1) }, "does not survive JSON", `lost`)
	})
}

func TestChangesOfRowsBySubID(t *testing.T) {
	t.Parallel()
	type changes = readmodel.Changes[Reading]
	next := func(after changes) func(message.Event[BookEvent]) changes {
		return func(e message.Event[BookEvent]) changes {
			if _, ok := e.Data.(Lent); ok {
				return readmodel.PutRows("ada", Reading{"dune", 1}, Reading{"emma", 2}, Reading{"ulysses", 3})
			}
			return after
		}
	}
	for name, c := range map[string]struct {
		changes changes
		want    []Reading
	}{
		"UpdateRow": {readmodel.UpdateRow("ada", "emma", func(r *Reading) { r.Times = 9 }), []Reading{{"dune", 1}, {"emma", 9}, {"ulysses", 3}}},
		"UpdateRow of none": {
			readmodel.UpdateRow("ada", "none", func(r *Reading) { r.Times = 9 }).IgnoreMissing(),
			[]Reading{{"dune", 1}, {"emma", 2}, {"ulysses", 3}},
		},
		"DeleteRow": {readmodel.DeleteRow[Reading]("ada", "emma"), []Reading{{"dune", 1}, {"ulysses", 3}}},
		"UpdateRows": {
			readmodel.UpdateRows("ada", func(all []Reading) []Reading { return append(all[1:], Reading{"waverley", all[0].Times}) }),
			[]Reading{{"emma", 2}, {"ulysses", 3}, {"waverley", 1}},
		},
		"DeleteIf": {readmodel.DeleteIf("ada", func(r Reading) bool { return r.Times > 1 }), []Reading{{"dune", 1}}},
		"Delete":   {readmodel.Delete[Reading]("ada"), nil},
		"Create":   {readmodel.Create("ada", Reading{"atlas", 1}), []Reading{{"atlas", 1}, {"dune", 1}, {"emma", 2}, {"ulysses", 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := projecting(next(c.changes))
			reventlesstest.ReadModel(t, m).
				Given(event("x", Lent{}), event("y", Returned{})).
				ThenRows("ada", c.want...)
			reventlesstest.ReadModel(t, m). // in one commit
							Given(event("x", Lent{}, Returned{})).
							ThenRows("ada", c.want...)
		})
	}
}

func TestRowsExpire(t *testing.T) {
	t.Parallel()
	m := readmodel.New(readmodel.Spec[Loan]{
		Name: "Loans", Expires: func(r Loan) time.Time { return r.Due },
		Projections: readmodel.Projections[Loan]{
			readmodel.On(Book, func(e message.Event[BookEvent]) readmodel.Changes[Loan] {
				return readmodel.Put(e.EntityID, Loan{Due: e.RecordedAt.Add(time.Hour)})
			}),
		},
	})
	at := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)
	row := Loan{Due: at.Add(time.Hour)}
	passes(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, m).
			Given(event("dune", Lent{}).At(at)).ThenRow("dune", row).
			Given(event("emma", Lent{}).At(at.Add(time.Hour))).ThenNoRow("dune").ThenRowCount(1)
	})
	fails(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, m).
			Given(event("dune", Lent{}).At(at), event("emma", Lent{}).At(at.Add(2*time.Hour))).
			ThenRow("dune", row)
	}, `row "dune" does not exist: it expired at 2026-03-02T11:00:00Z, and the clock is at 2026-03-02T12:00:00Z`)
}

// faultyEffect returns a side effect on the events of Book.
func faultyEffect(do func(context.Context, plugin.Env, message.Event[BookEvent]) error, uses ...plugin.Component) *automation.SideEffect {
	return automation.NewSideEffect(automation.SideEffectSpec{Name: "Faulty", Effects: automation.Effects{automation.Do(Book, do)}, Uses: uses})
}

func TestFaultyReactions(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	dune := event("dune", Lent{Member: "ada"})
	other := counter.New(counter.Spec{Name: "Returns"})
	react := func(actions func() message.Actions, sends ...plugin.Component) *automation.Automation {
		return automation.New(automation.Spec{
			Name:  "Faulty",
			Rules: automation.Rules{automation.On(Book, func(message.Event[BookEvent]) message.Actions { return actions() })},
			Sends: sends,
		})
	}
	for name, c := range map[string]struct {
		component plugin.Component
		want      string
	}{
		"sends to what it has not declared": {
			react(func() message.Actions { return message.Actions{Book.To("dune", TakeBack{})} }, Returns),
			`action 1, send Book "dune": TakeBack {}: aggregate Book is not among the targets that the component declares`,
		},
		"sends to another component of the name": {
			react(func() message.Actions { return message.Actions{other.Count("a", "b", 1)} }, Returns),
			"counter Returns is not among the targets",
		},
		"counts nothing": {
			react(func() message.Actions { return message.Actions{Returns.Count("a", "b", 0)} }, Returns),
			"a count is at least 1, not 0",
		},
		"counts without reference": {
			react(func() message.Actions { return message.Actions{Returns.Count("a", "", 1)} }, Returns),
			"reference id is empty",
		},
		"sends to no entity": {
			react(func() message.Actions { return message.Actions{Book.To("", TakeBack{})} }, Book),
			"entity id is empty",
		},
		"other actions each time": {
			react(func() message.Actions {
				return message.Actions{Returns.Count("a", "b", calls.Add(1))}
			}, Returns),
			`it returns different actions when it is called again for the same "Book/dune/1.0"`,
		},
		"fails": {faultyEffect(func(context.Context, plugin.Env, message.Event[BookEvent]) error { return errors.New("no paper") }), "no paper"},
		"fails the second time": {faultyEffect(func(_ context.Context, env plugin.Env, _ message.Event[BookEvent]) error {
			if calls.Add(1)%2 == 0 {
				return errors.New("printed already")
			}
			return nil
		}), `it succeeds, but fails when it is called again for the same "Book/dune/1.0": printed already`},
		"a file for each call": {faultyEffect(func(ctx context.Context, env plugin.Env, _ message.Event[BookEvent]) error {
			return Outbox.Open(env).Put(ctx, fmt.Sprint("mail", calls.Add(1)), strings.NewReader("hello"))
		}, Outbox), "it leaves different files when it is called again"},
		"reads what it does not use": {faultyEffect(func(ctx context.Context, env plugin.Env, _ message.Event[BookEvent]) error {
			_, _, err := Loans.Open(env).Get(ctx, "dune")
			return err
		}), "SideEffect Faulty does not declare that it uses ReadModel Loans"},
		"writes what it does not use": {faultyEffect(func(ctx context.Context, env plugin.Env, _ message.Event[BookEvent]) error {
			return Outbox.Open(env).Put(ctx, "a", strings.NewReader(""))
		}, Desk), "SideEffect Faulty does not declare that it uses Bucket Outbox"},
	} {
		t.Run(name, func(t *testing.T) {
			fails(t, func(t testing.TB) { reventlesstest.Automation(t, c.component).When(dune).ThenNothing() }, " Faulty, step 1 (When)", c.want)
		})
	}
	t.Run("the error is found", func(t *testing.T) {
		t.Parallel()
		s := faultyEffect(func(context.Context, plugin.Env, message.Event[BookEvent]) error {
			return fmt.Errorf("mail: %w", io.EOF)
		})
		passes(t, func(t testing.TB) { reventlesstest.SideEffect(t, s).When(dune).ThenError(io.EOF) })
	})
	t.Run("another target of the name", func(t *testing.T) {
		t.Parallel()
		a := react(func() message.Actions { return message.Actions{Returns.Count("a", "b", 1)} }, Returns)
		fails(t, func(t testing.TB) { reventlesstest.Automation(t, a).When(dune).Then(other.Count("a", "b", 1)) },
			"action 1 addresses another counter than expected, of the same name Returns")
	})
	t.Run("the env", func(t *testing.T) {
		t.Parallel()
		at := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)
		s := automation.NewSideEffect(automation.SideEffectSpec{
			Name: "Stamp",
			Effects: automation.Effects{automation.Do(Book, func(ctx context.Context, env plugin.Env, e message.Event[BookEvent]) error {
				return Outbox.Open(env).Put(ctx, "stamp", strings.NewReader(env.IdempotencyKey()+" "+env.Now().Format(time.RFC3339)))
			})},
			Uses: plugin.Components{Outbox},
		})
		reventlesstest.SideEffect(t, s).When(dune.At(at)).ThenFile(Outbox, "stamp", "Book/dune/1.0 2026-03-02T10:00:00Z")
	})
}

func TestTaskWithoutTriggers(t *testing.T) {
	t.Parallel()
	bucket := task.NewBucket(task.BucketSpec{Name: "In"})
	c := task.New(task.Spec{Name: "Half", Bucket: bucket, Created: func(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
		if o.Version != "00000001" && o.Key == "a" {
			return nil, errors.New("version " + o.Version)
		}
		if env.Now() != time.Date(2026, time.May, 1, 0, 0, 0, 0, time.UTC) {
			return nil, errors.New("the clock is wrong")
		}
		return nil, nil
	}})
	passes(t, func(t testing.TB) {
		reventlesstest.Task(t, c).At(time.Date(2026, time.May, 1, 0, 0, 0, 0, time.UTC)).
			Given(reventlesstest.File(bucket, "b", "old")).
			WhenCreated("a", "x").ThenNothing().ThenFile(bucket, "b", "old")
	})
	fails(t, func(t testing.TB) { reventlesstest.Task(t, c).WhenRemoved("a") }, "the task has no Removed")
	fails(t, func(t testing.TB) { reventlesstest.Task(t, c).WhenDue(time.Now()) }, "the task has no Run")
	fails(t, func(t testing.TB) { reventlesstest.Task(t, c).WhenCreated("/a", "") }, "invalid")
}

func TestFaultyOffers(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	offer := func(publish func() []PublicEvent, accept func() []message.Send) *extension.Offer {
		return extension.NewOffer(Lending,
			extension.Publish(Lending, Book, func(message.Event[BookEvent]) []PublicEvent { return publish() }),
			extension.Accept(Lending, func(string, PublicCommand) []message.Send { return accept() }, Book))
	}
	publishes := offer(func() []PublicEvent { return []PublicEvent{BookGone{int(calls.Add(1))}} }, nil)
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, publishes).When(event("dune", Lent{})) }, "Publish is not pure")
	sends := offer(nil, func() []message.Send { return []message.Send{Book.To("dune", Lend{Days: int(calls.Add(1))})} })
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, sends).WhenCommand(Lending.To("dune", Recall{})) }, "Accept is not pure")
	strays := offer(nil, func() []message.Send { return []message.Send{Lending.To("dune", Recall{})} })
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, strays).WhenCommand(Lending.To("dune", Recall{})) },
		"extension point Lending is not among the targets")
}
