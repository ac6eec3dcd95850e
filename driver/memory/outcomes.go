package memory

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// outcomes is a [driver.Outcomes].
type outcomes struct {
	p *Provider

	mu       sync.Mutex
	stored   map[outcomeKey]storedOutcome
	expiring sorted[expiry] // one for each stored outcome, earliest first
}

type storedOutcome struct {
	driver.StoredOutcome
	expires time.Time
}

type outcomeKey struct{ target, commandID string }

type expiry struct {
	at time.Time
	outcomeKey
}

func newOutcomes(p *Provider) *outcomes {
	return &outcomes{
		p:      p,
		stored: make(map[outcomeKey]storedOutcome),
		expiring: sorted[expiry]{compare: func(a, b expiry) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.target, b.target), cmp.Compare(a.commandID, b.commandID))
		}},
	}
}

// Put implements [driver.Outcomes].
func (o *outcomes) Put(ctx context.Context, outcome driver.StoredOutcome, expires time.Time) error {
	if err := o.p.begin(ctx); err != nil {
		return err
	}
	defer o.p.end()
	err := driver.CheckID("command", outcome.CommandID)
	if err == nil {
		err = driver.CheckID("target", outcome.Target)
	}
	if err != nil {
		return fmt.Errorf("outcomes: put: %w", err)
	}
	key := outcomeKey{outcome.Target, outcome.CommandID}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purge(o.p.now())
	old, ok := o.stored[key]
	if ok && !replaces(outcome, old.StoredOutcome) {
		return nil
	}
	if ok {
		o.expiring.remove(expiry{old.expires, key})
	}
	outcome.Outcome = copyOutcome(outcome.Outcome)
	o.stored[key] = storedOutcome{outcome, expires}
	o.expiring.insert(expiry{expires, key})
	return nil
}

// replaces reports whether an outcome replaces the stored one.
func replaces(outcome, stored driver.StoredOutcome) bool {
	switch outcome.Kind {
	case driver.Pending:
		return stored.Kind == driver.Failed && outcome.Resend > stored.Resend
	case driver.Failed:
		return stored.Kind != driver.Accepted
	}
	return true
}

// Get implements [driver.Outcomes].
func (o *outcomes) Get(ctx context.Context, target, commandID string) (driver.StoredOutcome, error) {
	if err := o.p.begin(ctx); err != nil {
		return driver.StoredOutcome{}, err
	}
	defer o.p.end()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purge(o.p.now())
	stored, ok := o.stored[outcomeKey{target, commandID}]
	if !ok {
		return driver.StoredOutcome{}, fmt.Errorf("outcomes: get %q of %q: %w", commandID, target, driver.ErrNotFound)
	}
	stored.Outcome = copyOutcome(stored.Outcome)
	return stored.StoredOutcome, nil
}

// purge removes the expired outcomes.
func (o *outcomes) purge(now time.Time) {
	var expired []expiry
	for e := range o.expiring.ascend(func(expiry) bool { return true }) {
		if e.at.After(now) {
			break
		}
		expired = append(expired, e)
	}
	for _, e := range expired {
		o.expiring.remove(e)
		delete(o.stored, e.outcomeKey)
	}
}
