package memory

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// deadLetters is a [driver.DeadLetters].
type deadLetters struct {
	p *Provider

	mu      sync.RWMutex
	letters map[string]driver.DeadLetter
	ids     sorted[string]
}

func newDeadLetters(p *Provider) *deadLetters {
	return &deadLetters{p: p, letters: make(map[string]driver.DeadLetter), ids: sorted[string]{compare: cmp.Compare[string]}}
}

// Park implements [driver.DeadLetters].
func (d *deadLetters) Park(ctx context.Context, letter driver.DeadLetter) error {
	if err := d.p.begin(ctx); err != nil {
		return err
	}
	defer d.p.end()
	if letter.ID == "" || letter.Component == "" {
		return fmt.Errorf("deadletters: park %q of %q: %w", letter.ID, letter.Component, driver.ErrInvalid)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.letters[letter.ID] = copyDeadLetter(letter)
	d.ids.insert(letter.ID)
	return nil
}

// Get implements [driver.DeadLetters].
func (d *deadLetters) Get(ctx context.Context, id string) (driver.DeadLetter, error) {
	if err := d.p.begin(ctx); err != nil {
		return driver.DeadLetter{}, err
	}
	defer d.p.end()
	d.mu.RLock()
	defer d.mu.RUnlock()
	letter, ok := d.letters[id]
	if !ok {
		return driver.DeadLetter{}, fmt.Errorf("deadletters: get %q: %w", id, driver.ErrNotFound)
	}
	return copyDeadLetter(letter), nil
}

// List implements [driver.DeadLetters].
func (d *deadLetters) List(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	if err := d.p.begin(ctx); err != nil {
		return nil, err
	}
	defer d.p.end()
	if err := checkLimit(limit); err != nil {
		return nil, fmt.Errorf("deadletters: %w", err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var list []driver.DeadLetter
	for id := range d.ids.ascend(func(id string) bool { return id > after }) {
		if len(list) == limit {
			break
		}
		if letter := d.letters[id]; component == "" || letter.Component == component {
			list = append(list, copyDeadLetter(letter))
		}
	}
	return list, nil
}

// Remove implements [driver.DeadLetters].
func (d *deadLetters) Remove(ctx context.Context, id string) error {
	if err := d.p.begin(ctx); err != nil {
		return err
	}
	defer d.p.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.letters, id)
	d.ids.remove(id)
	return nil
}
