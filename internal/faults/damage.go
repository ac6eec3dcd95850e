package faults

import (
	"context"
	"errors"
	"iter"

	"github.com/reventless-go/reventless/driver"
)

// damagedCommit is the place of a commit that [Provider.DamageCommit] has damaged.
type damagedCommit struct {
	log, stream string
	sequenceNr  uint64
}

// DamageCommit makes every reader of a stored commit find it damaged.
func (p *Provider) DamageCommit(log, stream string, sequenceNr uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged == nil {
		p.damaged = map[damagedCommit]bool{}
	}
	p.damaged[damagedCommit{log, stream, sequenceNr}] = true
}

// damageOf returns the damage of a commit, or nil.
func (p *Provider) damageOf(log, stream string, sequenceNr uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.damaged[damagedCommit{log, stream, sequenceNr}] {
		return nil
	}
	return &driver.DamageError{Table: "commits", Name: log, Key: stream, SequenceNr: sequenceNr, Cause: errors.New("injected damage")}
}

// damagedLog is a log with damaged commits.
type damagedLog struct {
	driver.EventLog
	p    *Provider
	name string
}

// CountCommits implements [driver.CommitCounter].
func (l damagedLog) CountCommits(ctx context.Context) (int64, error) {
	if c, ok := l.EventLog.(driver.CommitCounter); ok {
		return c.CountCommits(ctx)
	}
	return 0, driver.ErrUnsupported
}

// Append implements [driver.EventLog].
func (l damagedLog) Append(ctx context.Context, c driver.Commit) error {
	err := l.EventLog.Append(ctx, c)
	var conflict *driver.ConflictError
	if errors.As(err, &conflict) {
		if damage := l.p.damageOf(l.name, c.Stream, conflict.Winner.SequenceNr); damage != nil {
			return damage
		}
	}
	return err
}

// Load implements [driver.EventLog].
func (l damagedLog) Load(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
	commits, err := l.EventLog.Load(ctx, stream, usable)
	for _, c := range commits {
		if damage := l.p.damageOf(l.name, stream, c.SequenceNr); damage != nil {
			return nil, damage
		}
	}
	return commits, err
}

// Read implements [driver.EventLog].
func (l damagedLog) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
	return l.marked(l.EventLog.Read(ctx, stream, after, through), false)
}

// Scan implements [driver.EventLog].
func (l damagedLog) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return l.marked(l.EventLog.Scan(ctx, segment, segments), true)
}

// marked yields the damage in the place of a damaged commit. The sequence ends there unless
// goesOn is true.
func (l damagedLog) marked(commits iter.Seq2[driver.Commit, error], goesOn bool) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		for c, err := range commits {
			if err == nil {
				if damage := l.p.damageOf(l.name, c.Stream, c.SequenceNr); damage != nil {
					if !yield(driver.Commit{}, damage) || !goesOn {
						return
					}
					continue
				}
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// withoutDamaged returns a function that receives the records of a log, without the
// commits that are damaged.
func (p *Provider) withoutDamaged(log string, receive func(context.Context, int) (driver.Batch[driver.Record], error)) func(context.Context, int) (driver.Batch[driver.Record], error) {
	return func(ctx context.Context, limit int) (driver.Batch[driver.Record], error) {
		b, err := receive(ctx, limit)
		for i := range b.Deliveries {
			if m := &b.Deliveries[i].Message; p.damageOf(log, m.Stream, m.SequenceNr) != nil {
				m.Commit = nil
			}
		}
		return b, err
	}
}
