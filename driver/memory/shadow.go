package memory

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// shadow is a [driver.Shadow]: a second table without queries and subscribers.
type shadow struct {
	*queryDb
	served *table
}

// Shadow implements [driver.QueryDb].
func (db *queryDb) Shadow() driver.Shadow {
	t := db.t.shadow
	return &shadow{&queryDb{watermarks: &watermarks{p: db.p, name: db.name + " shadow", mu: &t.mu, byStream: t.watermarks}, t: t}, db.t}
}

// Record implements [driver.Shadow].
func (s *shadow) Record(ctx context.Context) ([]byte, error) {
	if err := s.p.begin(ctx); err != nil {
		return nil, err
	}
	defer s.p.end()
	s.served.mu.RLock()
	defer s.served.mu.RUnlock()
	return bytes.Clone(s.served.record), nil
}

// SetRecord implements [driver.Shadow].
func (s *shadow) SetRecord(ctx context.Context, record []byte) error {
	if err := s.p.begin(ctx); err != nil {
		return err
	}
	defer s.p.end()
	s.served.mu.Lock()
	defer s.served.mu.Unlock()
	s.served.record = bytes.Clone(record)
	return nil
}

// Swap implements [driver.Shadow].
func (s *shadow) Swap(ctx context.Context, record []byte, logs []string) (changed int, err error) {
	if err := s.p.begin(ctx); err != nil {
		return 0, err
	}
	defer s.p.end()
	to, from := s.served, s.t
	to.mu.Lock()
	defer to.mu.Unlock()
	from.mu.Lock()
	defer from.mu.Unlock()
	if err := behind(from.watermarks, to.watermarks, logs); err != nil {
		return 0, fmt.Errorf("querydb %q: swap: %w", s.name, err)
	}
	now := s.p.now()
	to.purge(now)
	from.purge(now)
	for _, e := range slices.Collect(to.byID.ascend(func(entry) bool { return true })) {
		if from.rows[e.at.Key] == nil {
			if to.get(e.at.Key, now) != nil {
				changed++
			}
			to.delete(e.at.Key, now)
		}
	}
	if to.spec.SubID != from.spec.SubID {
		to.define(from.spec)
	}
	for e := range from.byID.ascend(func(entry) bool { return true }) {
		r, old := e.rec, to.rows[e.at.Key]
		if old != nil && bytes.Equal(r.data, old.data) && r.deadline == old.deadline {
			continue
		}
		alive := from.get(r.key, now) != nil
		if alive || to.get(r.key, now) != nil {
			changed++
		}
		if alive {
			to.put(r.row(r.data), now)
		} else { // it is kept for a projection that extends it
			to.delete(r.key, now)
			to.store(r.row(r.data), now)
		}
	}
	clear(to.watermarks)
	maps.Copy(to.watermarks, from.watermarks)
	to.record = bytes.Clone(record)
	from.empty()
	return changed, nil
}

// behind returns a [driver.BehindError] if a swap would hide commits.
func behind(shadow, served byStream, logs []string) error {
	const most = 1000
	var e driver.BehindError
	for s, w := range served {
		if slices.Contains(logs, s.Log) && shadow[s].SequenceNr < w.SequenceNr && len(e.Behind) < most {
			e.Behind = append(e.Behind, s)
		}
	}
	for s, w := range shadow {
		if slices.Contains(logs, s.Log) && w.Blocked && served[s] != w && len(e.Blocked) < most {
			e.Blocked = append(e.Blocked, s)
		}
	}
	if len(e.Behind)+len(e.Blocked) > 0 {
		return &e
	}
	return nil
}

// Drop implements [driver.Shadow].
func (s *shadow) Drop(ctx context.Context) error {
	if err := s.p.begin(ctx); err != nil {
		return err
	}
	defer s.p.end()
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.empty()
	return nil
}
