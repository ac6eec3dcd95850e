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
	stored   map[string]storedOutcome
	expiring sorted[expiry] // one for each stored outcome, earliest first
}

type storedOutcome struct {
	driver.Outcome
	expires time.Time
}

type expiry struct {
	at        time.Time
	commandID string
}

func newOutcomes(p *Provider) *outcomes {
	return &outcomes{
		p:      p,
		stored: make(map[string]storedOutcome),
		expiring: sorted[expiry]{compare: func(a, b expiry) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.commandID, b.commandID))
		}},
	}
}

// Put implements [driver.Outcomes].
func (o *outcomes) Put(ctx context.Context, outcome driver.Outcome, expires time.Time) error {
	if err := o.p.begin(ctx); err != nil {
		return err
	}
	defer o.p.end()
	if err := driver.CheckID("command", outcome.CommandID); err != nil {
		return fmt.Errorf("outcomes: put: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purge(o.p.now())
	old, ok := o.stored[outcome.CommandID]
	if ok && outcome.Kind == driver.Pending {
		return nil
	}
	if ok {
		o.expiring.remove(expiry{old.expires, outcome.CommandID})
	}
	o.stored[outcome.CommandID] = storedOutcome{copyOutcome(outcome), expires}
	o.expiring.insert(expiry{expires, outcome.CommandID})
	return nil
}

// Get implements [driver.Outcomes].
func (o *outcomes) Get(ctx context.Context, commandID string) (driver.Outcome, error) {
	if err := o.p.begin(ctx); err != nil {
		return driver.Outcome{}, err
	}
	defer o.p.end()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purge(o.p.now())
	stored, ok := o.stored[commandID]
	if !ok {
		return driver.Outcome{}, fmt.Errorf("outcomes: get %q: %w", commandID, driver.ErrNotFound)
	}
	return copyOutcome(stored.Outcome), nil
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
		delete(o.stored, e.commandID)
	}
}
