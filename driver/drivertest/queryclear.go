package drivertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// traffic applies steps during Clear: commits of streams, each of which adds 1 to the
// row of its stream and, unless the table has own rows, to a row that it shares with
// other streams.
type traffic struct {
	*env
	db  driver.QueryDb
	own bool

	mu  sync.Mutex
	log map[string]uint64 // the last commit of each stream
}

// commit adds commits to the log of a stream.
func (c *traffic) commit(stream string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log[stream] += n
}

func (c *traffic) last(stream string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log[stream]
}

// rows returns the ids of the rows to which a stream adds.
func (c *traffic) rows(stream string) []string {
	if c.own {
		return []string{stream}
	}
	return []string{stream, "sum of " + stream[len(stream)-1:]}
}

// project brings a stream to the end of its log as the engine does: it reads again
// after a conflict. It stops at a blocked stream.
func (c *traffic) project(stream string) (blocked bool) {
	c.poll("the steps of "+stream, func() (bool, bool) {
		w, err := c.db.Watermark(c.ctx, streamKey(stream))
		last := c.last(stream)
		if !c.try(err, "Watermark") || w.Blocked || w.SequenceNr >= last {
			blocked = w.Blocked
			return true, true
		}
		step := driver.Step{Advances: []driver.Advance{advance(stream, w.SequenceNr, last)}}
		for _, id := range c.rows(stream) {
			r, err := c.db.LoadRow(c.ctx, driver.Key{ID: id})
			var v struct{ N int }
			switch {
			case err == nil:
				err = json.Unmarshal(r.Data, &v)
			case errors.Is(err, driver.ErrNotFound):
				err = nil
			}
			if !c.try(err, "LoadRow") {
				return true, false
			}
			step.Writes = append(step.Writes, guardedBy(put(numbered(id, v.N+int(last-w.SequenceNr))), r.Revision))
		}
		if err = c.db.Apply(c.ctx, step); err != nil {
			c.wantClass(err, driver.ErrConflict, "Apply")
		}
		return false, true
	})
	return blocked
}

// park blocks and unblocks a stream. Either may lose to another writer.
func (c *traffic) park(stream string) {
	w, err := c.db.Watermark(c.ctx, streamKey(stream))
	if !c.try(err, "Watermark") || w.Blocked {
		return
	}
	if err = c.db.Block(c.ctx, streamKey(stream), w.SequenceNr); err == nil {
		err = c.db.Unblock(c.ctx, streamKey(stream))
	}
	if err != nil {
		c.wantClass(err, driver.ErrConflict, "Block and Unblock")
	}
}

func clearDuringStepsLosesAndRepeatsNothing(e *env) {
	for _, spec := range []driver.TableSpec{plainTable, ownTable} {
		e.clearBesideSteps(&traffic{env: e, db: e.table(spec), own: spec.OwnRow, log: map[string]uint64{}})
	}
}

func (e *env) clearBesideSteps(c *traffic) {
	const projectors, rounds = 4, 2
	old, begin := e.times(40), 1+e.times(4)
	name := func(i int) string { return fmt.Sprintf("s%d", i) }
	streams := old
	everyStream := func(f func(stream string)) {
		race(projectors, func(me int) {
			for i := me; i < streams && !e.Failed(); i += projectors {
				f(name(i))
			}
		})
	}
	everyStream(func(stream string) {
		c.commit(stream, 5)
		c.project(stream)
	})
	for round := range rounds {
		// One Clear, and in the last round two at the same time.
		var done atomic.Bool
		var begun, running sync.WaitGroup
		begun.Add(projectors)
		for me := range projectors {
			running.Go(func() {
				for n := 0; n == 0 || !done.Load() && !e.Failed(); n++ {
					i := (me*old/projectors + n) % old
					if n%4 == 1 && n/4 < begin { // one that begins now
						i = streams + me*begin + n/4
					}
					c.commit(name(i), 1)
					c.project(name(i))
					if n == 0 {
						begun.Done()
					}
				}
			})
		}
		running.Go(func() {
			for n := 0; !done.Load() && !e.Failed(); n++ {
				c.park(name(n % old))
				pause(time.Millisecond)
			}
		})
		begun.Wait()
		race(1+round/(rounds-1), func(int) { e.try(c.db.Clear(e.ctx), "Clear beside steps") })
		done.Store(true)
		running.Wait()
		streams += projectors * begin
		everyStream(func(stream string) { // a rebuild
			e.errorIf(c.project(stream), "%s is blocked after Clear", stream)
		})
		want := map[string]uint64{}
		for stream, last := range c.log {
			for _, id := range c.rows(stream) {
				want[id] += last
			}
			w, err := c.db.Watermark(e.ctx, streamKey(stream))
			e.errorIf(e.try(err, "Watermark") && w != (driver.Watermark{SequenceNr: last}), "the watermark of %s is %+v, want %d", stream, w, last)
		}
		for id, n := range want {
			e.wantNumber(c.db, id, "n", int64(n))
		}
		e.fatalIf(e.Failed(), "after Clear %d beside steps, and a rebuild, rows are not what the commits make", round)
	}
}
