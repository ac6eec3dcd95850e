package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Result is the end of one command delivery: an outcome, or an error. A
// permanent error will be the same at every repetition.
type Result struct {
	Outcome   driver.Outcome
	Err       error
	Permanent bool
}

// aggregate runs the commands of one aggregate.
type aggregate struct {
	host  *Host
	name  string
	def   *component.Aggregate
	log   driver.EventLog
	topic driver.CommandTopic
	cache *cache
	lanes lanes
}

// handle runs deliveries: those of one entity in order and as one commit as far
// as they fit, different entities concurrently. The result has an entry for
// every delivery id. When ctx ends first, the results missing are its error and
// the commands may still take effect.
func (a *aggregate) handle(ctx context.Context, deliveries []driver.Delivery[driver.Command]) map[string]Result {
	results := make(map[string]Result, len(deliveries))
	groups := map[string]*group{}
	var order []*group
	for _, d := range deliveries {
		if err := a.check(d.Message); err != nil {
			results[d.ID] = Result{Err: err, Permanent: true}
			continue
		}
		g := groups[d.Message.Entity]
		if g == nil {
			g = &group{entity: d.Message.Entity, done: make(chan struct{})}
			groups[g.entity] = g
			order = append(order, g)
		}
		g.items = append(g.items, &item{delivery: d.ID, command: d.Message})
	}
	for _, g := range order {
		if !a.lanes.push(g, a.runLane) {
			err := fmt.Errorf("aggregate %s: the host is closed: %w", a.name, driver.ErrUnavailable)
			for _, it := range g.items {
				it.settle(Result{Err: err})
			}
			close(g.done)
		}
	}
	for _, g := range order {
		select {
		case <-g.done:
		case <-ctx.Done():
		}
		select {
		case <-g.done: // also when ctx has ended: what is decided is told
			for _, it := range g.items {
				results[it.delivery] = it.result
			}
		default:
			for _, it := range g.items {
				results[it.delivery] = Result{Err: fmt.Errorf("command %s: the outcome is not known: %w", it.command.Meta.ID, ctx.Err())}
			}
		}
	}
	for _, d := range deliveries { // no result is never a success
		if r, ok := results[d.ID]; !ok || r.Err == nil && r.Outcome.Kind == "" {
			results[d.ID] = Result{Err: fmt.Errorf("internal: delivery %s has no result", d.ID)}
		}
	}
	return results
}

// check reports why a command can never be handled.
func (a *aggregate) check(c driver.Command) error {
	var err error
	switch {
	case c.Target != a.name:
		err = fmt.Errorf("it is addressed to %q: %w", c.Target, driver.ErrInvalid)
	default:
		err = errors.Join(driver.CheckID("entity", c.Entity), driver.CheckID("command", c.Meta.ID))
	}
	if err == nil {
		if err = guard(func() error { return a.def.CheckCommand(c) }); err != nil {
			err = fmt.Errorf("%w: %w", driver.ErrInvalid, err)
		}
	}
	if err != nil {
		return fmt.Errorf("aggregate %s: command %s: %w", a.name, clip(c.Meta.ID), err)
	}
	return nil
}

// item is one command in work.
type item struct {
	delivery string
	command  driver.Command
	result   Result
	settled  bool
	recorded bool // the outcome is that of an earlier delivery; its user is not known yet
}

func (it *item) settle(r Result) {
	if !it.settled {
		it.result, it.settled = r, true
	}
}

// group is what one caller brought for one entity; it fails from its first
// failure on.
type group struct {
	entity string
	items  []*item
	done   chan struct{}
}

// lanes let one goroutine at a time work on an entity. What arrives meanwhile
// waits and is then decided together, in one commit.
type lanes struct {
	mu     sync.Mutex
	queues map[string][]*group
	closed bool
	wg     sync.WaitGroup
}

// close ends the lanes and waits for what is running.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true // before Wait: no goroutine may start beside it
	l.mu.Unlock()
	l.wg.Wait()
}

// maxGroups bounds how many waiting callers share one commit.
const maxGroups = 64

// push queues a group; false when the lanes are closed.
func (l *lanes) push(g *group, run func([]*group)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.queues == nil {
		l.queues = map[string][]*group{}
	}
	waiting, busy := l.queues[g.entity]
	l.queues[g.entity] = append(waiting, g)
	if !busy {
		l.wg.Go(func() { l.drain(g.entity, run) })
	}
	return true
}

func (l *lanes) drain(entity string, run func([]*group)) {
	drained := false
	defer func() {
		if !drained { // application code has ended the goroutine: who waits needs another
			l.wg.Go(func() { l.drain(entity, run) })
		}
	}()
	for {
		l.mu.Lock()
		batch := l.queues[entity]
		if len(batch) == 0 {
			delete(l.queues, entity)
			drained = true
			l.mu.Unlock()
			return
		}
		n := min(len(batch), maxGroups)
		l.queues[entity] = append([]*group(nil), batch[n:]...)
		l.mu.Unlock()
		run(batch[:n])
	}
}

// runLane decides the commands of groups, which are of one entity.
func (a *aggregate) runLane(groups []*group) {
	ctx, cancel := context.WithTimeout(a.host.ctx, a.host.opts.Budget)
	defer cancel()
	id := groups[0].entity
	defer func() {
		a.nameSenders(ctx, id, groups)
		for _, g := range groups {
			close(g.done)
		}
	}()
	fail := func(err error, permanent bool) {
		for _, g := range groups {
			for _, it := range g.items {
				it.settle(Result{Err: err, Permanent: permanent})
			}
		}
	}
	current := a.cache.get(id)
	fresh := false // current is what the log has, and not what it once had
	conflicts := 0
	limit := 0 // commands per commit; 0 is all
	for attempt := 1; ; attempt++ {
		if current == nil {
			var err error
			if current, err = a.load(ctx, id); err != nil {
				if retryable(err) && a.pause(ctx, attempt) {
					continue
				}
				fail(err, false)
				return
			}
			a.cache.put(id, current)
			fresh = true
		}
		round := a.decide(id, current, groups, limit, fresh)
		if round.stale {
			next, err := a.advance(ctx, id, current, nil)
			switch {
			case err == nil:
				current, fresh = next, true
			case !retryable(err) || !a.pause(ctx, attempt):
				a.cache.drop(id)
				fail(err, false)
				return
			}
			continue
		}
		if round.commit == nil {
			if round.more {
				continue
			}
			return
		}
		err := a.log.Append(ctx, *round.commit)
		if err == nil {
			current, fresh = current.with(round.commit, round.fold), true
			a.cache.put(id, current)
			round.accept()
			if round.more {
				limit = 0
				continue
			}
			return
		}
		var conflict *driver.ConflictError
		var large *driver.TooLargeError
		switch {
		case errors.As(err, &conflict):
			// The winner may be our own write, whose answer was lost: its ids are
			// remembered with it, so that the recorded outcomes are given.
			a.host.stats.conflicts.Add(1)
			winner := &conflict.Winner
			if conflicts++; conflicts > 1 {
				winner = nil // others were faster more than once: read all of it
			}
			if current, err = a.advance(ctx, id, current, winner); err != nil {
				current = nil
				a.cache.drop(id)
				if !retryable(err) {
					fail(err, false)
					return
				}
			}
			fresh = winner == nil
			if conflicts > 2 && !a.pause(ctx, conflicts-2) {
				fail(fmt.Errorf("aggregate %s: %q: %w", a.name, id, driver.ErrConflict), false)
				return
			}
		case errors.As(err, &large) && len(round.items) > 1:
			limit = max(len(round.items)/2, 1)
		case errors.As(err, &large) && round.commit.Snapshot != nil:
			a.host.log.Warn("a snapshot does not fit into its commit and is left out", "aggregate", a.name, "entity", id, "size", large.Size, "limit", large.Limit)
			current = &entity{sequenceNr: current.sequenceNr, fold: current.fold, recent: current.recent, unsnapped: -1 << 30}
		case errors.As(err, &large):
			round.items[0].settle(Result{Err: fmt.Errorf("aggregate %s: %q: %w", a.name, id, err), Permanent: true})
		case retryable(err):
			if !a.pause(ctx, attempt) {
				a.cache.drop(id)
				fail(fmt.Errorf("aggregate %s: append to %q: %w", a.name, id, err), false)
				return
			}
		default: // unknown: it may have taken effect, so nothing is taken for granted
			a.cache.drop(id)
			fail(fmt.Errorf("aggregate %s: append to %q: %w", a.name, id, storeError(err)), errors.Is(err, driver.ErrInvalid))
			return
		}
	}
}

// nameSenders completes outcomes that were recorded with the user of the command
// that was answered then: who repeats a command need not be who sent it. What is
// remembered of a command does not have it, the commit has. That costs a read,
// but only for what is repeated.
func (a *aggregate) nameSenders(ctx context.Context, id string, groups []*group) {
	commits := map[uint64]driver.Commit{}
	for _, g := range groups {
		for _, it := range g.items {
			if !it.recorded {
				continue
			}
			if err := a.nameSender(ctx, commits, id, &it.result.Outcome); err != nil {
				it.result = Result{Err: fmt.Errorf("aggregate %s: %q: command %s: who sent it first: %w", a.name, id, it.command.Meta.ID, err)}
			}
		}
	}
}

// nameSender completes one outcome; commits are those that were read before.
func (a *aggregate) nameSender(ctx context.Context, commits map[uint64]driver.Commit, id string, o *driver.Outcome) error {
	c, ok := commits[o.SequenceNr]
	for attempt := 1; !ok; attempt++ {
		var err error
		c, err = a.commit(ctx, id, o.SequenceNr)
		switch {
		case err == nil:
			commits[o.SequenceNr], ok = c, true
		case !retryable(err) || !a.pause(ctx, attempt):
			return storeError(err)
		}
	}
	for _, answered := range c.Commands {
		if answered.Meta.ID == o.CommandID {
			o.User = answered.Meta.User
			return nil
		}
	}
	return fmt.Errorf("commit %d does not answer it: %w", o.SequenceNr, driver.ErrInvalid)
}

// commit reads one commit.
func (a *aggregate) commit(ctx context.Context, id string, sequenceNr uint64) (driver.Commit, error) {
	for c, err := range a.log.Read(ctx, id, sequenceNr-1) {
		return c, err
	}
	return driver.Commit{}, fmt.Errorf("commit %d is not in the log: %w", sequenceNr, driver.ErrNotFound)
}

// round is one decision over the commands that are not settled yet.
type round struct {
	items  []*item // those that the commit answers
	commit *driver.Commit
	fold   component.State
	more   bool // commands remain that were left for a next commit
	stale  bool // the state must be read anew before it is answered from
}

func (r *round) accept() {
	for i, it := range r.items {
		it.settle(Result{Outcome: driver.Outcome{
			Kind: driver.Accepted, CommandID: it.command.Meta.ID, EntityID: it.command.Entity, Target: it.command.Target, User: it.command.Meta.User,
			SequenceNr: r.commit.SequenceNr, EventCount: r.commit.Commands[i].EventCount,
		}})
	}
}

// decide runs the open commands of groups on the state. Outcomes that need no
// write are settled only when nothing that precedes them needs one: until then
// they stand on state that is not stored, and are decided again. Nor are they
// settled on state that is not fresh: an append tells that it was not, but these
// have none.
func (a *aggregate) decide(id string, e *entity, groups []*group, limit int, fresh bool) *round {
	r := &round{}
	fold := e.fold.Clone()
	inCommit := map[string]bool{}
	var events []driver.Event
	var answered []driver.AnsweredCommand
	for _, g := range groups {
		failed := false
		for _, it := range g.items {
			if it.settled {
				failed = failed || it.result.Err != nil
				continue
			}
			if failed {
				it.settle(Result{Err: fmt.Errorf("aggregate %s: %q: %w", a.name, id, errInterrupted)})
				continue
			}
			c := it.command
			if rec, ok := e.answered(c.Meta.ID); ok {
				it.settle(Result{Outcome: driver.Outcome{
					Kind: driver.Accepted, CommandID: c.Meta.ID, EntityID: id, Target: a.name, SequenceNr: rec.SequenceNr, EventCount: rec.EventCount,
				}})
				it.recorded = true
				continue
			}
			if inCommit[c.Meta.ID] || limit > 0 && len(r.items) == limit {
				r.more = true
				continue
			}
			var made []driver.Event
			var rejection *component.Rejection
			next := fold
			err := guard(func() (err error) {
				made, rejection, err = fold.Decide(c)
				if err == nil && len(made) > 0 {
					next = fold.Clone()
					for _, ev := range made {
						if err = next.Apply(ev); err != nil {
							return err
						}
					}
				}
				return err
			})
			switch {
			case !fresh && len(r.items) == 0 && (err != nil || len(made) == 0):
				r.stale = true
				return r
			case err != nil:
				a.host.logPanic(a.name, err)
				it.settle(Result{Err: fmt.Errorf("aggregate %s: %q: command %s: %w", a.name, id, c.Type, err)})
				failed = true
			case len(made) > 0:
				fold = next
				events = append(events, made...)
				answered = append(answered, driver.AnsweredCommand{Meta: c.Meta, EventCount: len(made)})
				r.items = append(r.items, it)
				inCommit[c.Meta.ID] = true
			case len(r.items) > 0:
				r.more = true
			case rejection != nil:
				it.settle(Result{Outcome: driver.Outcome{
					Kind: driver.Rejected, CommandID: c.Meta.ID, EntityID: id, Target: a.name, User: c.Meta.User,
					Code: rejection.Code, Message: rejection.Message, Detail: rejection.Detail,
				}})
			default:
				it.settle(Result{Outcome: driver.Outcome{
					Kind: driver.Accepted, CommandID: c.Meta.ID, EntityID: id, Target: a.name, User: c.Meta.User, SequenceNr: e.sequenceNr,
				}})
			}
		}
	}
	if len(r.items) == 0 {
		return r
	}
	r.fold = fold
	r.commit = &driver.Commit{Stream: id, SequenceNr: e.sequenceNr + 1, Events: events, Commands: answered}
	if every := a.def.SnapshotEvery; every > 0 && e.unsnapped+len(events) >= every {
		r.commit.Snapshot = a.snapshot(id, e, r)
	}
	return r
}

func (a *aggregate) snapshot(id string, e *entity, r *round) *driver.Snapshot {
	state, err := r.fold.Snapshot()
	if err != nil { // a snapshot is a convenience: the commit goes on without
		a.host.log.Warn("no snapshot", "aggregate", a.name, "entity", id, "error", logged(err))
		return nil
	}
	recent := e.with(r.commit, nil).recent
	return &driver.Snapshot{
		FoldVersion: a.def.StateVersion, State: state,
		Recent: recent[max(0, len(recent)-rememberedCommands):],
	}
}

// load folds a stream from the log.
func (a *aggregate) load(ctx context.Context, id string) (*entity, error) {
	commits, err := a.log.Load(ctx, id, a.def.StateVersion)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: load %q: %w", a.name, id, storeError(err))
	}
	e := &entity{fold: a.def.NewState()}
	for i := range commits {
		c := &commits[i]
		if s := c.Snapshot; i == 0 && s != nil && s.FoldVersion == a.def.StateVersion {
			if err := guard(func() error { return e.fold.Restore(s.State) }); err != nil {
				return nil, fmt.Errorf("aggregate %s: snapshot of %q at %d: %w", a.name, id, c.SequenceNr, err)
			}
			e.sequenceNr, e.recent = c.SequenceNr, s.Recent
			continue
		}
		if err := a.apply(e, id, c); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// apply folds a commit into an entity that nobody else has yet.
func (a *aggregate) apply(e *entity, id string, c *driver.Commit) error {
	if c.SequenceNr != e.sequenceNr+1 {
		return fmt.Errorf("aggregate %s: %q: commit %d follows on %d in the log: %w", a.name, id, c.SequenceNr, e.sequenceNr, driver.ErrInvalid)
	}
	for i, ev := range c.Events {
		if err := guard(func() error { return e.fold.Apply(ev) }); err != nil {
			return fmt.Errorf("aggregate %s: %q: event %s/%s/%d.%d: %w", a.name, id, a.name, id, c.SequenceNr, i, err)
		}
	}
	e.sequenceNr = c.SequenceNr
	e.unsnapped += len(c.Events)
	if c.Snapshot != nil && c.Snapshot.FoldVersion == a.def.StateVersion {
		e.unsnapped = 0
	}
	for _, cmd := range c.Commands {
		e.recent = append(e.recent, driver.RecentCommand{ID: cmd.Meta.ID, SequenceNr: c.SequenceNr, EventCount: cmd.EventCount})
	}
	return nil
}

// advance brings an entity up to date: with the winner of a lost condition, which
// is the next commit and costs no read, or without one from the log.
func (a *aggregate) advance(ctx context.Context, id string, e *entity, winner *driver.Commit) (*entity, error) {
	next := e
	apply := func(c *driver.Commit) error {
		if next == e {
			next = &entity{
				sequenceNr: e.sequenceNr, fold: e.fold.Clone(), unsnapped: e.unsnapped,
				recent: append([]driver.RecentCommand(nil), e.recent...),
			}
		}
		return a.apply(next, id, c)
	}
	if winner != nil {
		if err := apply(winner); err != nil {
			return nil, err
		}
	} else {
		for c, err := range a.log.Read(ctx, id, e.sequenceNr) {
			if err != nil {
				return nil, fmt.Errorf("aggregate %s: read %q: %w", a.name, id, storeError(err))
			}
			if err := apply(&c); err != nil {
				return nil, err
			}
		}
	}
	a.cache.put(id, next)
	return next, nil
}

// pause waits before another attempt; false when the budget does not allow it.
func (a *aggregate) pause(ctx context.Context, attempt int) bool {
	return a.host.sleep(ctx, min(a.host.opts.Backoff(attempt), time.Second))
}
