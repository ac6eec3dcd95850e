package commands

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/ids"
)

const (
	// snapshotCommands is how many remembered commands a snapshot contains. The state in
	// memory remembers at least as many.
	snapshotCommands = 256
	// maxRemembered bounds the remembered commands of an entity.
	maxRemembered = 1 << 16
	// clockMargin is how much the clocks of senders and stores may differ.
	clockMargin = 5 * time.Minute
	// untimedWindow is how long a command is remembered whose id does not contain its
	// time.
	untimedWindow = time.Hour
	// timedWindow is how long commands are kept in memory if all ids contain their time.
	// A repetition that is older is found in the log.
	timedWindow = 2 * clockMargin
	// lookBackCommits bounds how many commits are read for a command from outside.
	lookBackCommits = 4096
	// indexFrom is the number of remembered commands from which a map is used.
	indexFrom = 512
)

// remembered are the commands of a stream that are known to be answered: all those of
// commit from and of later ones. An entity has one worker at a time, so it is changed in
// place. A command is in it only after its commit is stored.
type remembered struct {
	from uint64
	// since is a time at or after which commit from was recorded; zero if from is 1.
	since time.Time
	list  []known // oldest first
	// index has the places in list, plus removed; nil while the list is short.
	index   map[uint64]int
	removed int
	// keepUntil and untimedUntil extend how long old commands are kept: after they were
	// read from the log, and after a command whose id does not contain its time.
	keepUntil, untimedUntil time.Time
}

type known struct {
	driver.RememberedCommand
	at time.Time // the command was answered at that time or earlier
}

// newRemembered returns the remembered commands of c's snapshot. Without a snapshot it
// returns those of an empty stream.
func newRemembered(c *driver.Commit) *remembered {
	if c == nil || c.Snapshot == nil {
		return &remembered{from: 1}
	}
	s := c.Snapshot
	m := &remembered{from: s.From, since: s.Since}
	if s.From == 0 { // it does not say what it remembers
		m.from, m.since = c.SequenceNr+1, c.RecordedAt
	}
	for _, r := range s.Remembered {
		m.list = append(m.list, known{r, c.RecordedAt})
	}
	return m
}

func (m *remembered) find(hash uint64) (driver.RememberedCommand, bool) {
	if len(m.list) < indexFrom {
		for i := len(m.list) - 1; i >= 0; i-- {
			if m.list[i].Hash == hash {
				return m.list[i].RememberedCommand, true
			}
		}
		return driver.RememberedCommand{}, false
	}
	if m.index == nil {
		m.index = make(map[uint64]int, 2*len(m.list))
		for i, k := range m.list {
			m.index[k.Hash] = i + m.removed
		}
	}
	i, ok := m.index[hash]
	if !ok {
		return driver.RememberedCommand{}, false
	}
	return m.list[i-m.removed].RememberedCommand, true
}

// covers reports whether every command that was answered since a time is remembered.
func (m *remembered) covers(since time.Time) bool { return m.from <= 1 || m.since.Before(since) }

// add remembers the commands of the next commit, and forgets old ones.
func (m *remembered) add(c *driver.Commit, at, now time.Time) {
	if n := len(m.list); n > 0 && m.list[n-1].SequenceNr >= c.SequenceNr {
		return // read again after a failure
	}
	for _, k := range commandsOf(c, at) {
		m.list = append(m.list, k)
		if m.index != nil {
			m.index[k.Hash] = len(m.list) - 1 + m.removed
		}
	}
	oldest := now.Add(-timedWindow)
	if now.Before(m.untimedUntil) {
		oldest = now.Add(-untimedWindow)
	}
	n := 0
	for len(m.list)-n > snapshotCommands && !now.Before(m.keepUntil) && (len(m.list)-n > maxRemembered || m.list[n].at.Before(oldest)) {
		n++
	}
	m.forget(n)
}

// commandsOf returns the commands of a commit that was recorded at a time.
func commandsOf(c *driver.Commit, at time.Time) []known {
	out := make([]known, len(c.Commands))
	for i, a := range c.Commands {
		out[i] = known{driver.RememberedCommand{
			Hash: driver.HashID(a.Meta.ID), Fingerprint: a.Fingerprint, SequenceNr: c.SequenceNr, EventCount: a.EventCount,
		}, at}
	}
	return out
}

// forget removes the n oldest commands.
func (m *remembered) forget(n int) {
	if n == 0 {
		return
	}
	m.from, m.since = cut(m.list, n)
	if m.index != nil {
		for i, k := range m.list[:n] {
			if m.index[k.Hash] == i+m.removed {
				delete(m.index, k.Hash)
			}
		}
	}
	m.removed += n
	m.list = m.list[n:]
	if len(m.list) < indexFrom {
		m.index = nil
	}
	if cap(m.list) > 4*len(m.list)+indexFrom {
		m.list = slices.Clone(m.list)
	}
}

// cut returns the first commit whose commands are all in list[n:], and when it was
// recorded.
func cut(list []known, n int) (from uint64, since time.Time) {
	before := list[n-1]
	for _, k := range list[n:] {
		if k.SequenceNr > before.SequenceNr {
			return k.SequenceNr, k.at
		}
	}
	return list[len(list)-1].SequenceNr + 1, list[len(list)-1].at
}

// snapshot puts what is remembered after a new commit into its snapshot.
func (m *remembered) snapshot(s *driver.Snapshot, c *driver.Commit, now time.Time) {
	list := append(slices.Clip(m.list), commandsOf(c, now)...)
	s.From, s.Since = m.from, m.since
	if n := len(list) - snapshotCommands; n > 0 {
		s.From, s.Since = cut(list, n)
		list = list[n:]
	}
	for _, k := range list {
		s.Remembered = append(s.Remembered, k.RememberedCommand)
	}
}

// needed returns how far back the commands must be remembered to tell that a command is
// not a repetition, and whether its id is from outside.
func (m *remembered) needed(id string, now time.Time) (since time.Time, outside bool) {
	at, derived := ids.Time(id)
	if at.IsZero() || at.After(now) {
		m.untimedUntil = now.Add(untimedWindow)
		return now.Add(-untimedWindow), !derived
	}
	return at.Add(-clockMargin), !derived
}

// answered returns what is known of a command that was answered. If the remembered
// commands do not tell, it reads the log.
func (t *turn) answered(ctx context.Context, id string) (driver.RememberedCommand, bool, error) {
	m := t.loaded.memory
	hash := driver.HashID(id)
	c, ok := m.find(hash)
	since, outside := m.needed(id, t.core.Now())
	if ok || m.covers(since) {
		return c, ok, nil
	}
	for attempt := 1; ; attempt++ {
		err := t.lookBack(ctx, t.entity, m, since, outside)
		if err == nil {
			c, ok = m.find(hash)
			return c, ok, nil
		}
		if !core.Retryable(err) || !t.pause(ctx, attempt) {
			return c, false, err
		}
	}
}

// lookBack reads the commands of earlier commits until all that were answered since a
// time are remembered. With outside it reads a bounded number of commits: a sender could
// choose an id that pretends to be old. The error is then [core.ErrUnverified]; a repeated
// call continues where the last one ended.
func (a *Aggregate) lookBack(ctx context.Context, id string, m *remembered, since time.Time, outside bool) error {
	const page = 512
	for read := 0; !m.covers(since); read += page {
		if outside && (read >= lookBackCommits || len(m.list) >= maxRemembered) {
			return fmt.Errorf("aggregate %s: %q: more than %d commits since %v: %w", a.name, id, read, since.UTC().Format(time.RFC3339), core.ErrUnverified)
		}
		var older []known
		after := m.from - 1 - min(m.from-1, page)
		next, first := after+1, time.Time{}
		for c, err := range a.log.Read(ctx, id, after, m.from-1) {
			if err != nil {
				return fmt.Errorf("aggregate %s: read %q: %w", a.name, id, core.StoreError(err))
			}
			if next == after+1 {
				first = c.RecordedAt
			}
			older = append(older, commandsOf(&c, c.RecordedAt)...)
			next = c.SequenceNr + 1
		}
		if next != m.from {
			return fmt.Errorf("aggregate %s: %q: the log ends before commit %d: %w", a.name, id, m.from, driver.ErrInvalid)
		}
		m.list, m.index, m.removed = append(older, m.list...), nil, 0
		if m.from, m.since = after+1, first; m.from == 1 {
			m.since = time.Time{}
		}
		m.keepUntil = a.core.Now().Add(timedWindow)
	}
	return nil
}
