// Package marks keeps watermarks in DynamoDB: in a table of their own, or in the
// rows of a read model whose steps each touch the row of their stream only.
//
// A table of watermarks has the partition key stream (S) and the sort key log (S),
// and the attributes seq (N) and blocked (BOOL). A row has for each log the
// attributes w:LOG and b:LOG. What is 0 or not blocked is not there.
//
// In a table of watermarks a stream may also be held, which is the attribute hold
// (S). It is blocked then, and stays so until its watermark is removed.
package marks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/driver"
)

// The attributes of a table of watermarks.
const (
	Stream  = "stream"
	Log     = "log"
	seq     = "seq"
	blocked = "blocked"
	hold    = "hold"
)

// Marks are the watermarks of one consumer.
type Marks struct {
	call  dynamo.Caller
	what  string // for errors
	table string
	own   bool
}

var _ driver.Checkpoints = (*Marks)(nil)

// Apart returns the watermarks in a table of their own. Errors begin with what.
func Apart(call dynamo.Caller, table, what string) *Marks {
	return &Marks{call: call, table: table, what: what}
}

// InRows returns those in a table of rows.
func InRows(call dynamo.Caller, table, what string) *Marks {
	return &Marks{call: call, table: table, what: what, own: true}
}

// place is where the watermark of a stream is.
type place struct {
	key          dynamo.Item
	seq, blocked string
}

func (m *Marks) place(s driver.StreamKey) place {
	if m.own {
		return place{dynamo.Item{rowtable.ID: dynamo.Text(s.Stream)}, "w:" + s.Log, "b:" + s.Log}
	}
	return place{dynamo.Item{Stream: dynamo.Text(s.Stream), Log: dynamo.Text(s.Log)}, seq, blocked}
}

// check reports whether there can be such a stream.
func check(s driver.StreamKey) error {
	if err := driver.CheckID("log", s.Log); err != nil {
		return err
	}
	return driver.CheckID("stream", s.Stream)
}

// Check reports whether advances can be of one step.
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
func (m *Marks) Move(e *dynamo.Expression, a driver.Advance) {
	p := m.place(a.StreamKey)
	e.Where(at(e, p, a.From))
	e.Where(e.Absent(p.blocked))
	if a.To == a.From {
		e.Remove(p.blocked) // a transaction's update has to do something
		return
	}
	e.Set(p.seq, dynamo.Number(a.To))
}

// at is the condition that a watermark is there.
func at(e *dynamo.Expression, p place, n uint64) string {
	if n == 0 {
		return e.Absent(p.seq)
	}
	return e.Name(p.seq) + " = " + e.Value(dynamo.Number(n))
}

// Writes returns the updates of checked advances, one for each item.
func (m *Marks) Writes(advances []driver.Advance) []types.TransactWriteItem {
	items := make(map[driver.StreamKey]*dynamo.Expression)
	var order []driver.StreamKey
	for _, a := range advances {
		of := a.StreamKey
		if m.own {
			of.Log = "" // the logs share the row
		}
		if items[of] == nil {
			items[of] = new(dynamo.Expression)
			order = append(order, a.StreamKey)
		}
		m.Move(items[of], a)
	}
	writes := make([]types.TransactWriteItem, len(order))
	for i, s := range order {
		key := m.place(s).key
		if m.own {
			s.Log = ""
		}
		writes[i] = items[s].Update(m.table, key)
	}
	return writes
}

// KeysAndHolds are the attributes that [Held], [Marks.Hold] and [Marks.Remove] need
// of the items of a table of watermarks.
func KeysAndHolds() *dynamo.Expression {
	var e dynamo.Expression
	for _, name := range []string{Stream, Log, hold} {
		e.Name(name)
	}
	return &e
}

// Held returns the stream of an item, and the name of its hold; empty is none.
func Held(item dynamo.Item) (s driver.StreamKey, name string, err error) {
	r := dynamo.Read(item)
	s = driver.StreamKey{Log: r.Text(Log), Stream: r.Text(Stream)}
	if r.Has(hold) {
		name = r.Text(hold)
	}
	return s, name, r.Err()
}

// Hold returns the update that holds a stream. Its condition is lost where there is
// no watermark, and where it is held already.
func (m *Marks) Hold(s driver.StreamKey, name string) types.TransactWriteItem {
	var e dynamo.Expression
	e.Where(e.Present(Stream)) // makes no item where there is none
	e.Where(e.Absent(hold))
	e.Set(blocked, dynamo.Bool(true))
	e.Set(hold, dynamo.Text(name))
	return e.Update(m.table, m.place(s).key)
}

// Remove returns the removal of a watermark that is held under a name.
func (m *Marks) Remove(s driver.StreamKey, name string) types.TransactWriteItem {
	var e dynamo.Expression
	e.Where(e.Name(hold) + " = " + e.Value(dynamo.Text(name)))
	return e.Delete(m.table, m.place(s).key)
}

// Watermark implements [driver.Checkpoints].
func (m *Marks) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	mark, err := m.watermark(ctx, stream)
	if err != nil {
		return driver.Watermark{}, fmt.Errorf("%s: watermark of %.100q: %w", m.what, stream.Stream, err)
	}
	return mark, nil
}

func (m *Marks) watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	if err := check(stream); err != nil {
		return driver.Watermark{}, err
	}
	p := m.place(stream)
	var wanted dynamo.Expression
	wanted.Name(p.seq)
	wanted.Name(p.blocked)
	item, err := m.call.Get(ctx, m.table, p.key, &wanted)
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

// Watermarks implements [driver.Checkpoints].
func (m *Marks) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	marks, err := m.watermarks(ctx, streams)
	if err != nil {
		return nil, fmt.Errorf("%s: watermarks of %d streams: %w", m.what, len(streams), err)
	}
	return marks, nil
}

func (m *Marks) watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
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
		of, p := s, m.place(s)
		if m.own {
			of.Log = ""
		}
		items[of] = append(items[of], s)
		for _, name := range append(slices.Collect(maps.Keys(p.key)), p.seq, p.blocked) {
			wanted.Name(name)
		}
	}
	keys := make([]dynamo.Item, 0, len(items))
	for _, of := range items {
		keys = append(keys, m.place(of[0]).key)
	}
	found, err := m.call.BatchGet(ctx, m.table, keys, &wanted)
	if err != nil {
		return nil, err
	}
	for _, item := range found {
		r := dynamo.Read(item)
		var of driver.StreamKey
		if m.own {
			of.Stream = r.Text(rowtable.ID)
		} else {
			of = driver.StreamKey{Log: r.Text(Log), Stream: r.Text(Stream)}
		}
		for _, s := range items[of] {
			if marks[s], err = m.place(s).read(item); err != nil {
				return nil, fmt.Errorf("that of %.100q: %w", s.Stream, err)
			}
		}
	}
	return marks, nil
}

// Advance implements [driver.Checkpoints].
func (m *Marks) Advance(ctx context.Context, advances []driver.Advance) error {
	if err := m.advance(ctx, advances); err != nil {
		return fmt.Errorf("%s: advance: %w", m.what, err)
	}
	return nil
}

func (m *Marks) advance(ctx context.Context, advances []driver.Advance) error {
	if err := Check(advances); err != nil {
		return err
	}
	if n := len(advances); n > dynamo.MaxActions {
		return &driver.TooLargeError{What: "step", Size: n, Limit: dynamo.MaxActions}
	}
	if len(advances) == 0 {
		return ctx.Err()
	}
	return m.call.Write(ctx, m.Writes(advances))
}

// Block implements [driver.Checkpoints].
func (m *Marks) Block(ctx context.Context, stream driver.StreamKey, n uint64) error {
	err := check(stream)
	if err == nil {
		var e dynamo.Expression
		p := m.place(stream)
		e.Where(at(&e, p, n))
		e.Set(p.blocked, dynamo.Bool(true))
		err = m.call.Write(ctx, []types.TransactWriteItem{e.Update(m.table, p.key)})
	}
	if err != nil {
		return fmt.Errorf("%s: block %.100q at %d: %w", m.what, stream.Stream, n, err)
	}
	return nil
}

// Unblock implements [driver.Checkpoints].
func (m *Marks) Unblock(ctx context.Context, stream driver.StreamKey) error {
	err := check(stream)
	if err == nil {
		err = m.unblock(ctx, stream)
	}
	if err != nil {
		return fmt.Errorf("%s: unblock %.100q: %w", m.what, stream.Stream, err)
	}
	return nil
}

func (m *Marks) unblock(ctx context.Context, stream driver.StreamKey) error {
	var e dynamo.Expression
	p := m.place(stream)
	e.Where(e.Present(p.blocked)) // makes no item where there is none
	e.Where(e.Absent(hold))
	e.Remove(p.blocked)
	update := e.Update(m.table, p.key)
	update.Update.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	err := m.call.Write(ctx, []types.TransactWriteItem{update})
	var lost *types.ConditionalCheckFailedException
	if !errors.As(err, &lost) {
		return err
	}
	if _, held := lost.Item[hold]; held {
		return fmt.Errorf("its read model is being cleared: %w", err)
	}
	return nil
}
