package server_test

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// The depot has items, which anyone may read and only Admin may remove; parcels, which
// only their owner may read; and jobs, which are asynchronous.
type (
	itemCommand interface{ message.Typed }
	// Anyone may send Put, authenticated callers Paint, and Admin Remove. Crash panics.
	Put struct {
		Group string   `json:"group"`
		Count int64    `json:"count"`
		Tags  []string `json:"tags"`
		Box   *Box     `json:"box,omitempty"`
	}
	Paint  struct{ Color string }
	Remove struct{}
	Crash  struct{}
	// Box is a recursive type.
	Box struct {
		Label string `json:"label"`
		Inner *Box   `json:"inner,omitempty"`
	}
)

func (Put) MessageType() string    { return "Put" }
func (Paint) MessageType() string  { return "Paint" }
func (Remove) MessageType() string { return "Remove" }
func (Crash) MessageType() string  { return "Crash" }

type (
	itemEvent  interface{ message.Typed }
	WasPut     Put
	WasPainted Paint
	WasRemoved struct{}
	itemState  struct{ There bool }
	itemRow    struct {
		Group string   `json:"group"`
		Count int64    `json:"count"`
		Color *string  `json:"color,omitempty"`
		Tags  []string `json:"tags"`
		Box   *Box     `json:"box,omitempty"`
	}
)

func (WasPut) MessageType() string     { return "WasPut" }
func (WasPainted) MessageType() string { return "WasPainted" }
func (WasRemoved) MessageType() string { return "WasRemoved" }

var item = aggregate.New(aggregate.Spec[itemState, itemCommand, itemEvent]{
	Name:     "Item",
	Commands: message.NewSet[itemCommand](Put{}, Paint{}, Remove{}, Crash{}),
	Events:   message.NewSet[itemEvent](WasPut{}, WasPainted{}, WasRemoved{}),
	Decide: func(s itemState, c itemCommand) ([]itemEvent, error) {
		switch c := c.(type) {
		case Put:
			return []itemEvent{WasPut(c)}, nil
		case Paint:
			if !s.There {
				return nil, message.Reject("NotThere")
			}
			return []itemEvent{WasPainted(c)}, nil
		case Remove:
			return []itemEvent{WasRemoved{}}, nil
		case Crash:
			panic("the secret plan")
		}
		return nil, nil
	},
	Evolve: func(s itemState, e itemEvent) itemState {
		switch e.(type) {
		case WasPut:
			s.There = true
		case WasRemoved:
			s.There = false
		}
		return s
	},
	Access: access.Rules{access.Anyone.For(Put{}, Crash{}), access.Roles(access.Admin).For(Remove{})},
})

var items = readmodel.New(readmodel.Spec[itemRow]{
	Name: "Items",
	Projections: readmodel.Projections[itemRow]{
		readmodel.On(item, func(e message.Event[itemEvent]) readmodel.Changes[itemRow] {
			switch d := e.Data.(type) {
			case WasPut:
				return readmodel.Put(e.EntityID, itemRow{Group: d.Group, Count: d.Count, Tags: d.Tags, Box: d.Box})
			case WasPainted:
				return readmodel.Update(e.EntityID, func(r *itemRow) { r.Color = &d.Color })
			case WasRemoved:
				return readmodel.Delete[itemRow](e.EntityID)
			}
			return nil
		}),
	},
	Indexes: []readmodel.Index{{Name: "byGroup", Key: "group"}},
	Access:  access.Anyone,
})

type (
	parcelCommand interface{ message.Typed }
	parcelEvent   interface{ message.Typed }
	// Post is for the owner that it names, Stop for authenticated callers.
	Post struct {
		Owner string `json:"owner"`
		Lines []Line `json:"lines"`
	}
	Line struct {
		Place string `json:"place"`
		Text  string `json:"text"`
	}
	Stop      struct{}
	Posted    Post
	Stopped   struct{}
	parcelRow struct {
		Owner string `json:"owner"`
	}
	lineRow struct {
		Place string `json:"place"`
		Text  string `json:"text"`
	}
)

func (Post) MessageType() string    { return "Post" }
func (Stop) MessageType() string    { return "Stop" }
func (Posted) MessageType() string  { return "Posted" }
func (Stopped) MessageType() string { return "Stopped" }

var parcel = aggregate.New(aggregate.Spec[struct{}, parcelCommand, parcelEvent]{
	Name:     "Parcel",
	Commands: message.NewSet[parcelCommand](Post{}, Stop{}),
	Events:   message.NewSet[parcelEvent](Posted{}, Stopped{}),
	Decide: func(_ struct{}, c parcelCommand) ([]parcelEvent, error) {
		if p, ok := c.(Post); ok {
			return []parcelEvent{Posted(p)}, nil
		}
		return []parcelEvent{Stopped{}}, nil
	},
	Evolve: func(s struct{}, _ parcelEvent) struct{} { return s },
	Access: access.Rules{access.Owner("owner").For(Post{})},
})

var parcels = readmodel.New(readmodel.Spec[parcelRow]{
	Name: "Parcels",
	Projections: readmodel.Projections[parcelRow]{
		readmodel.On(parcel, func(e message.Event[parcelEvent]) readmodel.Changes[parcelRow] {
			if p, ok := e.Data.(Posted); ok {
				return readmodel.Put(e.EntityID, parcelRow{Owner: p.Owner})
			}
			return nil
		}),
	},
	Access: access.Owner("owner"),
})

var lines = readmodel.New(readmodel.Spec[lineRow]{
	Name: "Lines", SubID: "place",
	Projections: readmodel.Projections[lineRow]{
		readmodel.On(parcel, func(e message.Event[parcelEvent]) readmodel.Changes[lineRow] {
			p, _ := e.Data.(Posted)
			var rows []lineRow
			for _, l := range p.Lines {
				rows = append(rows, lineRow(l))
			}
			if len(rows) == 0 {
				return nil
			}
			return readmodel.PutRows(e.EntityID, rows...)
		}),
	},
})

type (
	jobCommand interface{ message.Typed }
	jobEvent   interface{ message.Typed }
	Begin      struct{ Hours int }
	Begun      Begin
)

func (Begin) MessageType() string { return "Begin" }
func (Begun) MessageType() string { return "Begun" }

var job = aggregate.New(aggregate.Spec[struct{}, jobCommand, jobEvent]{
	Name:     "Job",
	Commands: message.NewSet[jobCommand](Begin{}),
	Events:   message.NewSet[jobEvent](Begun{}),
	Decide: func(_ struct{}, c jobCommand) ([]jobEvent, error) {
		return []jobEvent{Begun(c.(Begin))}, nil
	},
	Evolve: func(s struct{}, _ jobEvent) struct{} { return s },
	Async:  true,
})

func depot() *reventless.App {
	return reventless.New("depot", plugin.New(plugin.Spec{
		Name: "Depot", Heartbeat: -1,
		Components: plugin.Components{item, items, parcel, parcels, lines, job},
	}))
}

// store is a memory provider that counts its subscribers and calls a hook before some
// operations.
type store struct {
	*memory.Provider
	before     atomic.Pointer[func(ctx context.Context, call string) error]
	subscribed chan struct{} // has an element for each subscription that has begun
	listening  atomic.Int64
}

func newStore() *store {
	return &store{Provider: memory.New(nil), subscribed: make(chan struct{}, 1<<16)}
}

// hook sets the function that is called before operations; they fail with its error.
func (s *store) hook(f func(ctx context.Context, call string) error) { s.before.Store(&f) }

func (s *store) call(ctx context.Context, name string) error {
	if f := s.before.Load(); f != nil {
		return (*f)(ctx, name)
	}
	return nil
}

type (
	hookedLog struct {
		driver.EventLog
		s *store
	}
	hookedDb struct {
		driver.QueryDb
		s *store
	}
	hookedLetters struct {
		driver.DeadLetters
		s *store
	}
	hookedTopic struct {
		driver.StateTopic
		s *store
	}
)

func (s *store) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	l, err := s.Provider.OpenEventLog(ctx, name)
	return hookedLog{l, s}, err
}

func (s *store) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	db, err := s.Provider.OpenQueryDb(ctx, spec)
	return hookedDb{db, s}, err
}

func (s *store) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	d, err := s.Provider.OpenDeadLetters(ctx)
	return hookedLetters{d, s}, err
}

func (s *store) OpenStateTopic(ctx context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	t, err := s.Provider.OpenStateTopic(ctx, spec)
	return hookedTopic{t, s}, err
}

func (l hookedLog) Append(ctx context.Context, c driver.Commit) error {
	if err := l.s.call(ctx, "Append"); err != nil {
		return err
	}
	return l.EventLog.Append(ctx, c)
}

func (db hookedDb) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	if err := db.s.call(ctx, "LoadRow"); err != nil {
		return driver.Row{}, err
	}
	return db.QueryDb.LoadRow(ctx, key)
}

func (d hookedLetters) List(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	if err := d.s.call(ctx, "List"); err != nil {
		return nil, err
	}
	return d.DeadLetters.List(ctx, component, after, limit)
}

func (t hookedTopic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	changes, err := t.StateTopic.Subscribe(ctx)
	if err != nil {
		return nil, err
	}
	t.s.listening.Add(1)
	t.s.subscribed <- struct{}{}
	return func(yield func(driver.StateChange, error) bool) {
		defer t.s.listening.Add(-1)
		changes(yield)
	}, nil
}
