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
	// maxRemembered bounds the remembered commands of an entity. It is reached by a rate
	// of 290 commands a second for an hour.
	maxRemembered = 1 << 20
	// clockMargin is how much the clocks of senders and stores may differ.
	clockMargin = 5 * time.Minute
	// untimedWindow is how long a command is remembered whose id does not contain its
	// time.
	untimedWindow = time.Hour
	// timedWindow is how long commands are kept in memory if all ids contain their time.
	// A repetition that is older is found in the log.
	timedWindow = 2 * clockMargin
	// untimedCommits and oldCommits bound how many commits are read for a sender's
	// command without a time, and for one whose time is before timedWindow.
	untimedCommits = 1 << 16
	oldCommits     = 4096
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
	// at is a time at or after which the command was answered, in nanoseconds since 1970:
	// without a pointer, the garbage collector does not look into long lists.
	at int64
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
		m.list = append(m.list, known{r, c.RecordedAt.UnixNano()})
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
	before := len(m.list)
	m.list = appendCommands(m.list, c, at)
	if m.index != nil {
		for i, k := range m.list[before:] {
			m.index[k.Hash] = before + i + m.removed
		}
	}
	window := timedWindow
	if now.Before(m.untimedUntil) {
		window = untimedWindow
	}
	oldest := now.Add(-window).UnixNano()
	n := 0
	for len(m.list)-n > snapshotCommands && (len(m.list)-n > maxRemembered || !now.Before(m.keepUntil) && m.list[n].at < oldest) {
		n++
	}
	m.forget(n)
}

// appendCommands appends the commands of a commit that was recorded at a time.
func appendCommands(list []known, c *driver.Commit, at time.Time) []known {
	for _, a := range c.Commands {
		list = append(list, known{driver.RememberedCommand{
			Hash: driver.HashID(a.Meta.ID), Fingerprint: a.Fingerprint, SequenceNr: c.SequenceNr, EventCount: a.EventCount,
		}, at.UnixNano()})
	}
	return list
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
			return k.SequenceNr, time.Unix(0, k.at).UTC()
		}
	}
	last := list[len(list)-1]
	return last.SequenceNr + 1, time.Unix(0, last.at).UTC()
}

// snapshot puts what is remembered after a new commit into its snapshot.
func (m *remembered) snapshot(s *driver.Snapshot, c *driver.Commit, now time.Time) {
	s.From, s.Since = m.from, m.since
	tail := m.list[max(0, len(m.list)-snapshotCommands-1):] // the last one that is cut off says where it was cut
	list := appendCommands(slices.Clip(tail), c, now)
	if n := len(list) - snapshotCommands; n > 0 {
		s.From, s.Since = cut(list, n)
		list = list[n:]
	}
	for _, k := range list {
		s.Remembered = append(s.Remembered, k.RememberedCommand)
	}
}

// lookUp says how to find out whether a command with an id was answered before.
type lookUp struct {
	hash uint64
	// since is how far back the commands must be known.
	since time.Time
	// limit bounds the commits that are read; 0 is no bound. A sender could choose ids
	// that make the host read much.
	limit int
	// keep says that what is read is remembered: it is needed for the next commands, too.
	keep bool
}

// lookUp returns how to look for a command.
func (m *remembered) lookUp(id string, now time.Time) lookUp {
	at, derived := ids.Time(id)
	l := lookUp{hash: driver.HashID(id), since: at.Add(-clockMargin), keep: true}
	switch {
	case at.IsZero() || at.After(now):
		m.untimedUntil = now.Add(untimedWindow)
		l.since, l.limit = now.Add(-untimedWindow), untimedCommits
		if derived {
			l.limit = 0
		}
	case !derived && at.Before(now.Add(-timedWindow)):
		l.limit, l.keep = oldCommits, false
	}
	return l
}

// answered returns what is known of a command that was answered. If the remembered
// commands do not tell, it reads the log.
func (t *turn) answered(ctx context.Context, id string) (found driver.RememberedCommand, ok bool, err error) {
	m := t.loaded.memory
	l := m.lookUp(id, t.core.Now())
	if found, ok = m.find(l.hash); ok || m.covers(l.since) {
		return found, ok, nil
	}
	for attempt := 1; ; attempt++ {
		found, ok, err = t.readBack(ctx, t.entity, m, l)
		if err == nil || !core.Retryable(err) || !t.pause(ctx, attempt) {
			return found, ok, err
		}
	}
}

// readBack looks for a command in the commits before the remembered ones. If it reads the
// limit without reaching the time of the look-up, the error is [core.ErrUnverified].
func (a *Aggregate) readBack(ctx context.Context, id string, m *remembered, l lookUp) (found driver.RememberedCommand, ok bool, err error) {
	const page = 512
	from, reached, first := m.from, false, time.Time{}
	var pages [][]known // newest first
	if l.keep {
		defer func() {
			if len(pages) > 0 {
				slices.Reverse(pages)
				m.prepend(slices.Concat(pages...), from, first, a.core.Now())
			}
		}()
	}
	for read := 0; !reached; read += page {
		if l.limit > 0 && (read >= l.limit || l.keep && len(m.list) >= maxRemembered) {
			return found, false, fmt.Errorf("aggregate %s: %q: more than %d commits since %v: %w", a.name, id, read, l.since.UTC().Format(time.RFC3339), core.ErrUnverified)
		}
		older, recorded, err := a.commandsBefore(ctx, id, from, page)
		if err != nil {
			return found, false, err
		}
		pages, first = append(pages, older), recorded
		for _, k := range older {
			if k.Hash == l.hash {
				found, ok = k.RememberedCommand, true
			}
		}
		from -= min(from-1, page)
		reached = ok || from == 1 || first.Before(l.since)
	}
	return found, ok, nil
}

// commandsBefore returns the commands of up to n commits before a commit, and when the
// first of these commits was recorded.
func (a *Aggregate) commandsBefore(ctx context.Context, id string, commit, n uint64) (commands []known, first time.Time, err error) {
	after := commit - 1 - min(commit-1, n)
	next := after + 1
	for c, err := range a.log.Read(ctx, id, after, commit-1) {
		if err != nil {
			return nil, first, fmt.Errorf("aggregate %s: read %q: %w", a.name, id, core.StoreError(err))
		}
		if next == after+1 {
			first = c.RecordedAt
		}
		commands = appendCommands(commands, &c, c.RecordedAt)
		next = c.SequenceNr + 1
	}
	if next != commit {
		return nil, first, &driver.DamageError{Table: "commits", Name: a.name, Key: id, SequenceNr: next, Cause: fmt.Errorf("the log ends before commit %d", commit)}
	}
	return commands, first, nil
}

// prepend remembers the commands of the commits from one on, up to those that are
// remembered, and keeps them for a while.
func (m *remembered) prepend(older []known, from uint64, recorded, now time.Time) {
	m.list, m.index, m.removed = append(older, m.list...), nil, 0
	if m.from, m.since = from, recorded; from == 1 {
		m.since = time.Time{}
	}
	m.keepUntil = now.Add(timedWindow)
}
