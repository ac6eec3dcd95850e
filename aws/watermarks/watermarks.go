// Package watermarks keeps the watermarks of a consumer in DynamoDB: in a table of
// their own, or in the rows of a read model whose steps touch only the row of
// their stream.
//
// A table of watermarks has the partition key stream (S) and the sort key log (S),
// and the attributes seq (N) and blocked (BOOL). A row has the attributes w:LOG and
// b:LOG for each log. A watermark of 0 and one that is not blocked have no attribute.
//
// [QueryDb.Clear] locks streams in a table of watermarks: such a stream has the attribute
// hold (S). It is blocked until its watermark is deleted.
//
// Moving one watermark is a conditional update of one write unit; moving several at
// once is a transaction of two units for each.
//
// [QueryDb.Clear]: https://pkg.go.dev/github.com/reventless-go/reventless/driver#QueryDb
package watermarks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/driver"
)

// MaxAdvances is the maximum number of streams of one Advance: more are a
// [driver.ErrTooLarge].
const MaxAdvances = dynamo.MaxActions

// The attributes of a table of watermarks.
const (
	Stream  = "stream"
	Log     = "log"
	seq     = "seq"
	blocked = "blocked"
	hold    = "hold"
)

// Store keeps the watermarks of one consumer. It keeps no state in memory: any number
// of processes may have it open.
type Store struct {
	call  dynamo.Caller
	what  string // for errors
	table string
	own   bool
}

var _ driver.Watermarks = (*Store)(nil)

// Options configure a [Store]; nil fields are the defaults.
type Options struct {
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the watermarks in table. It makes no request: a missing table is
// [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, table string, opts *Options) *Store {
	call := dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}}
	if opts != nil && opts.Spent != nil {
		call.Spent = opts.Spent
	}
	return InTable(call, table, "watermarks "+table)
}

// InTable returns the watermarks in a table of their own. Errors begin with what.
func InTable(call dynamo.Caller, table, what string) *Store {
	return &Store{call: call, table: table, what: what}
}

// InRows returns the watermarks in a table of rows.
func InRows(call dynamo.Caller, table, what string) *Store {
	return &Store{call: call, table: table, what: what, own: true}
}

// place is the item and the attributes of the watermark of a stream.
type place struct {
	key          dynamo.Item
	seq, blocked string
}

func (w *Store) place(s driver.StreamKey) place {
	if w.own {
		return place{dynamo.Item{rowtable.ID: dynamo.Text(s.Stream)}, "w:" + s.Log, "b:" + s.Log}
	}
	return place{dynamo.Item{Stream: dynamo.Text(s.Stream), Log: dynamo.Text(s.Log)}, seq, blocked}
}

// check returns an error when no stream can have this key.
func check(s driver.StreamKey) error {
	if err := driver.CheckID("log", s.Log); err != nil {
		return err
	}
	return driver.CheckID("stream", s.Stream)
}

// Check returns an error when advances cannot be part of one step.
func Check(advances []driver.Advance) error {
	seen := make(map[driver.StreamKey]bool, len(advances))
	for _, a := range advances {
		if err := check(a.StreamKey); err != nil {
			return err
		}
		if a.To < a.From {
			return fmt.Errorf("advance of %.100q from %d to %d: %w", a.Stream, a.From, a.To, driver.ErrInvalid)
		}
		if seen[a.StreamKey] {
			return fmt.Errorf("two advances of %.100q of %q: %w", a.Stream, a.Log, driver.ErrInvalid)
		}
		seen[a.StreamKey] = true
	}
	return nil
}

// Move adds an advance to the update of the item that has its watermark.
func (w *Store) Move(e *dynamo.Expression, a driver.Advance) {
	p := w.place(a.StreamKey)
	e.Where(at(e, p, a.From))
	e.Where(e.Absent(p.blocked))
	if a.To == a.From {
		e.Remove(p.blocked) // an update in a transaction must not be empty
		return
	}
	e.Set(p.seq, dynamo.Number(a.To))
}

// at is the condition that a watermark has a value.
func at(e *dynamo.Expression, p place, n uint64) string {
	if n == 0 {
		return e.Absent(p.seq)
	}
	return e.Name(p.seq) + " = " + e.Value(dynamo.Number(n))
}

// Writes returns the updates of checked advances, one for each item.
func (w *Store) Writes(advances []driver.Advance) []types.TransactWriteItem {
	items := make(map[driver.StreamKey]*dynamo.Expression)
	var order []driver.StreamKey
	for _, a := range advances {
		of := a.StreamKey
		if w.own {
			of.Log = "" // the logs share the row
		}
		if items[of] == nil {
			items[of] = new(dynamo.Expression)
			order = append(order, a.StreamKey)
		}
		w.Move(items[of], a)
	}
	writes := make([]types.TransactWriteItem, len(order))
	for i, s := range order {
		key := w.place(s).key
		if w.own {
			s.Log = ""
		}
		writes[i] = items[s].Update(w.table, key)
	}
	return writes
}

// KeysAndHolds are the attributes that [Held], [Store.Hold] and [Store.Remove] need
// of the items of a table of watermarks.
func KeysAndHolds() *dynamo.Expression {
	var e dynamo.Expression
	for _, name := range []string{Stream, Log, hold} {
		e.Name(name)
	}
	return &e
}

// Held returns the stream of an item and the name of its lock; an empty name means no lock.
func Held(item dynamo.Item) (s driver.StreamKey, name string, err error) {
	r := dynamo.Read(item)
	s = driver.StreamKey{Log: r.Text(Log), Stream: r.Text(Stream)}
	if r.Has(hold) {
		name = r.Text(hold)
	}
	return s, name, r.Err()
}

// Hold returns the update that locks a stream. Its condition fails when there is no
// watermark or when it is locked already.
func (w *Store) Hold(s driver.StreamKey, name string) types.TransactWriteItem {
	var e dynamo.Expression
	e.Where(e.Present(Stream)) // creates no item
	e.Where(e.Absent(hold))
	e.Set(blocked, dynamo.Bool(true))
	e.Set(hold, dynamo.Text(name))
	return e.Update(w.table, w.place(s).key)
}

// Remove returns the deletion of a watermark that is locked under a name.
func (w *Store) Remove(s driver.StreamKey, name string) types.TransactWriteItem {
	var e dynamo.Expression
	e.Where(e.Name(hold) + " = " + e.Value(dynamo.Text(name)))
	return e.Delete(w.table, w.place(s).key)
}

// Watermark implements [driver.Watermarks].
func (w *Store) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	mark, err := w.watermark(ctx, stream)
	if err != nil {
		return driver.Watermark{}, fmt.Errorf("%s: watermark of %.100q: %w", w.what, stream.Stream, err)
	}
	return mark, nil
}

func (w *Store) watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	if err := check(stream); err != nil {
		return driver.Watermark{}, err
	}
	p := w.place(stream)
	var wanted dynamo.Expression
	wanted.Name(p.seq)
	wanted.Name(p.blocked)
	item, err := w.call.Get(ctx, w.table, p.key, &wanted)
	if err != nil {
		return driver.Watermark{}, err
	}
	return p.read(item)
}

func (p place) read(item dynamo.Item) (mark driver.Watermark, err error) {
	r := dynamo.Read(item)
	if r.Has(p.seq) {
		mark.SequenceNr = r.Uint(p.seq)
	}
	if r.Has(p.blocked) {
		mark.Blocked = r.Bool(p.blocked)
	}
	return mark, r.Err()
}

// Watermarks implements [driver.Watermarks].
func (w *Store) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	marks, err := w.watermarks(ctx, streams)
	if err != nil {
		return nil, fmt.Errorf("%s: watermarks of %d streams: %w", w.what, len(streams), err)
	}
	return marks, nil
}

func (w *Store) watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	marks := make(map[driver.StreamKey]driver.Watermark, len(streams))
	items := make(map[driver.StreamKey][]driver.StreamKey) // the streams of each item
	var wanted dynamo.Expression
	for _, s := range streams {
		if err := check(s); err != nil {
			return nil, err
		}
		if _, ok := marks[s]; ok {
			continue
		}
		marks[s] = driver.Watermark{}
		of, p := s, w.place(s)
		if w.own {
			of.Log = ""
		}
		items[of] = append(items[of], s)
		for _, name := range append(slices.Collect(maps.Keys(p.key)), p.seq, p.blocked) {
			wanted.Name(name)
		}
	}
	keys := make([]dynamo.Item, 0, len(items))
	for _, of := range items {
		keys = append(keys, w.place(of[0]).key)
	}
	found, err := w.call.BatchGet(ctx, w.table, keys, &wanted)
	if err != nil {
		return nil, err
	}
	for _, item := range found {
		r := dynamo.Read(item)
		var of driver.StreamKey
		if w.own {
			of.Stream = r.Text(rowtable.ID)
		} else {
			of = driver.StreamKey{Log: r.Text(Log), Stream: r.Text(Stream)}
		}
		for _, s := range items[of] {
			if marks[s], err = w.place(s).read(item); err != nil {
				return nil, fmt.Errorf("watermark of %.100q: %w", s.Stream, err)
			}
		}
	}
	return marks, nil
}

// Advance implements [driver.Watermarks].
func (w *Store) Advance(ctx context.Context, advances []driver.Advance) error {
	if err := w.advance(ctx, advances); err != nil {
		return fmt.Errorf("%s: advance: %w", w.what, err)
	}
	return nil
}

func (w *Store) advance(ctx context.Context, advances []driver.Advance) error {
	if err := Check(advances); err != nil {
		return err
	}
	if n := len(advances); n > dynamo.MaxActions {
		return &driver.TooLargeError{What: "step", Size: n, Limit: dynamo.MaxActions}
	}
	if len(advances) == 0 {
		return ctx.Err()
	}
	return w.call.Write(ctx, w.Writes(advances))
}

// Block implements [driver.Watermarks].
func (w *Store) Block(ctx context.Context, stream driver.StreamKey, n uint64) error {
	err := check(stream)
	if err == nil {
		var e dynamo.Expression
		p := w.place(stream)
		e.Where(at(&e, p, n))
		e.Set(p.blocked, dynamo.Bool(true))
		err = w.call.Write(ctx, []types.TransactWriteItem{e.Update(w.table, p.key)})
	}
	if err != nil {
		return fmt.Errorf("%s: block %.100q at %d: %w", w.what, stream.Stream, n, err)
	}
	return nil
}

// Unblock implements [driver.Watermarks].
func (w *Store) Unblock(ctx context.Context, stream driver.StreamKey) error {
	err := check(stream)
	if err == nil {
		err = w.unblock(ctx, stream)
	}
	if err != nil {
		return fmt.Errorf("%s: unblock %.100q: %w", w.what, stream.Stream, err)
	}
	return nil
}

func (w *Store) unblock(ctx context.Context, stream driver.StreamKey) error {
	var e dynamo.Expression
	p := w.place(stream)
	e.Where(e.Present(p.blocked)) // creates no item
	e.Where(e.Absent(hold))
	e.Remove(p.blocked)
	update := e.Update(w.table, p.key)
	update.Update.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	err := w.call.Write(ctx, []types.TransactWriteItem{update})
	var lost *types.ConditionalCheckFailedException
	if !errors.As(err, &lost) {
		return err
	}
	item := lost.Item
	if len(item) == 0 { // there is no item, or the response lacks it
		var getErr error
		if item, getErr = w.call.Get(ctx, w.table, p.key, nil); getErr != nil {
			return getErr
		}
	}
	if _, held := item[hold]; held {
		return fmt.Errorf("the read model is being cleared: %w", err)
	}
	if _, blocked := item[p.blocked]; blocked {
		return fmt.Errorf("the stream was blocked again, or the response to the failed condition has no item: %w", driver.ErrUnavailable)
	}
	return nil
}
