package reventlesstest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// The tests and examples are about a library that lends books.

type BookCommand interface {
	message.Typed
	isBookCommand()
}

type Lend struct {
	Member string `json:"member"`
	Days   int    `json:"days"`
}

type TakeBack struct{}

func (Lend) MessageType() string     { return "Lend" }
func (TakeBack) MessageType() string { return "TakeBack" }
func (Lend) isBookCommand()          {}
func (TakeBack) isBookCommand()      {}

type BookEvent interface {
	message.Typed
	isBookEvent()
}

type Lent struct {
	Member string `json:"member"`
	Days   int    `json:"days"`
}

type Returned struct {
	Member string `json:"member"`
}

func (Lent) MessageType() string     { return "Lent" }
func (Returned) MessageType() string { return "Returned" }
func (Lent) isBookEvent()            {}
func (Returned) isBookEvent()        {}

type BookState struct {
	Member  string
	Readers []string
}

func decideBook(s BookState, c BookCommand) ([]BookEvent, error) {
	switch c := c.(type) {
	case Lend:
		switch {
		case s.Member == c.Member && s.Member != "":
			return nil, nil
		case s.Member != "":
			return nil, message.Reject("NotHere", s.Member)
		case c.Days > 30:
			return nil, errors.New("too long")
		}
		return []BookEvent{Lent(c)}, nil
	case TakeBack:
		if s.Member == "" {
			return nil, message.Reject("Here")
		}
		return []BookEvent{Returned{s.Member}}, nil
	}
	panic("unknown command")
}

func evolveBook(s BookState, e BookEvent) BookState {
	switch e := e.(type) {
	case Lent:
		s.Member = e.Member
		s.Readers = append(slices.Clip(s.Readers), e.Member)
	case Returned:
		s.Member = ""
	}
	return s
}

func bookSpec() aggregate.Spec[BookState, BookCommand, BookEvent] {
	return aggregate.Spec[BookState, BookCommand, BookEvent]{
		Name:     "Book",
		Commands: message.NewSet[BookCommand](Lend{}, TakeBack{}),
		Events:   message.NewSet[BookEvent](Lent{}, Returned{}),
		Decide:   decideBook,
		Evolve:   evolveBook,
	}
}

var Book = aggregate.New(bookSpec())

// Loan is a row of Loans: a book that is lent.
type Loan struct {
	Member string    `json:"member"`
	Due    time.Time `json:"due"`
}

var Loans = readmodel.New(readmodel.Spec[Loan]{
	Name: "Loans",
	Projections: readmodel.Projections[Loan]{
		readmodel.On(Book, func(e message.Event[BookEvent]) readmodel.Changes[Loan] {
			switch d := e.Data.(type) {
			case Lent:
				return readmodel.Create(e.EntityID, Loan{d.Member, e.RecordedAt.AddDate(0, 0, d.Days)})
			case Returned:
				return slices.Concat(
					readmodel.Update(e.EntityID, func(r *Loan) { r.Due = time.Time{} }),
					readmodel.DeleteIf(e.EntityID, func(r Loan) bool { return r.Due.IsZero() }),
				)
			}
			return nil
		}),
	},
	OwnRow: true,
})

// Reading is a row of Readings: how often a member borrowed a book.
type Reading struct {
	Book  string `json:"book"`
	Times int    `json:"times"`
}

var Readings = readmodel.New(readmodel.Spec[Reading]{
	Name:  "Readings",
	SubID: "book",
	Projections: readmodel.Projections[Reading]{
		readmodel.On(Book, func(e message.Event[BookEvent]) readmodel.Changes[Reading] {
			if d, ok := e.Data.(Lent); ok {
				return readmodel.UpdateOrCreate(d.Member, Reading{Book: e.EntityID}, func(r *Reading) { r.Times++ })
			}
			return nil
		}),
	},
})

var Returns = counter.New(counter.Spec{Name: "Returns"})

var Remind = automation.New(automation.Spec{
	Name: "Remind",
	Rules: automation.Rules{
		automation.On(Book, func(e message.Event[BookEvent]) message.Actions {
			switch d := e.Data.(type) {
			case Lent:
				due := schedule.At(e.RecordedAt.AddDate(0, 0, d.Days))
				return message.Actions{schedule.Create(e.EntityID, due, Book.To(e.EntityID, TakeBack{}))}
			case Returned:
				return message.Actions{schedule.Delete(e.EntityID), Returns.Count(d.Member, e.Position.String(), 1)}
			}
			return nil
		}),
		automation.OnWith(Returns, func(ctx context.Context, env plugin.Env, e message.Event[counter.Finished]) (message.Actions, error) {
			loan, ok, err := Loans.Open(env).Get(ctx, "prize")
			if err != nil {
				return nil, err
			}
			if ok && loan.Member != e.EntityID {
				return message.Actions{Book.To("prize", TakeBack{}).After(time.Hour)}, nil
			}
			return nil, nil
		}),
	},
	Uses:  plugin.Components{Loans},
	Sends: plugin.Components{Book, Returns},
})

var Outbox = task.NewBucket(task.BucketSpec{Name: "Outbox"})

var Receipt = automation.NewSideEffect(automation.SideEffectSpec{
	Name: "Receipt",
	Effects: automation.Effects{automation.Do(Book, func(ctx context.Context, env plugin.Env, e message.Event[BookEvent]) error {
		d, ok := e.Data.(Lent)
		if !ok {
			return nil
		}
		text := fmt.Sprintf("%s has %s\nfor %d days\n", d.Member, e.EntityID, d.Days)
		return Outbox.Open(env).Put(ctx, e.EntityID+".txt", strings.NewReader(text))
	})},
	Uses: plugin.Components{Outbox},
})

var Desk = task.NewBucket(task.BucketSpec{Name: "Desk"})

// LendList lends the books of a file: a member, then the books, one per line.
var LendList = task.New(task.Spec{
	Name: "LendList", Bucket: Desk, Suffix: ".lst",
	Created: func(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
		body, err := Desk.Open(env).Get(ctx, o.Key)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		lines := strings.Fields(string(text))
		if len(lines) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		var actions message.Actions
		for _, book := range lines[1:] {
			actions = append(actions, Book.To(book, Lend{Member: lines[0], Days: 14}))
		}
		done := fmt.Sprintf("%d books\n", len(actions))
		return actions, Desk.Open(env).Put(ctx, o.Key+".done", strings.NewReader(done))
	},
	Removed: func(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
		return nil, Desk.Open(env).Delete(ctx, o.Key+".done")
	},
	Rate: schedule.Daily(8, 0, ""),
	Run: func(ctx context.Context, env plugin.Env, due time.Time) (message.Actions, error) {
		if !env.Now().Equal(due) {
			return nil, errors.New("the clock is wrong")
		}
		var late message.Actions
		for book, err := range Loans.Open(env).All(ctx) {
			if err != nil {
				return nil, err
			}
			if book.Due.Before(due) {
				late = append(late, Returns.AddTarget(book.Member, due.Format(time.DateOnly), 1))
			}
		}
		return late, nil
	},
	Uses:  plugin.Components{Loans},
	Sends: plugin.Components{Book, Returns},
})

type PublicEvent interface {
	message.Typed
	isPublic()
}

type BookGone struct {
	Days int `json:"days"`
}

type BookBack struct{}

func (BookGone) MessageType() string { return "BookGone" }
func (BookBack) MessageType() string { return "BookBack" }
func (BookGone) isPublic()           {}
func (BookBack) isPublic()           {}

type PublicCommand interface {
	message.Typed
	isPublicCommand()
}

type Recall struct{}

func (Recall) MessageType() string { return "Recall" }
func (Recall) isPublicCommand()    {}

var Lending = extension.NewPoint(extension.PointSpec[PublicCommand, PublicEvent]{
	Name:     "Lending",
	Commands: message.NewSet[PublicCommand](Recall{}),
	Events:   message.NewSet[PublicEvent](BookGone{}, BookBack{}),
})

var LendingOffer = extension.NewOffer(Lending,
	extension.Publish(Lending, Book, func(e message.Event[BookEvent]) []PublicEvent {
		switch d := e.Data.(type) {
		case Lent:
			return []PublicEvent{BookGone{d.Days}}
		case Returned:
			return []PublicEvent{BookBack{}}
		}
		return nil
	}),
	extension.Accept(Lending, func(id string, _ PublicCommand) []message.Send {
		return []message.Send{Book.To(id, TakeBack{})}
	}, Book))

var Recaller = extension.New(Lending, extension.Spec[PublicEvent]{
	Name: "Recaller",
	React: func(e message.Event[PublicEvent]) message.Actions {
		if d, ok := e.Data.(BookGone); ok && d.Days > 20 {
			return message.Actions{Lending.To(e.EntityID, Recall{})}
		}
		return nil
	},
	Sends: plugin.Components{Lending},
})
