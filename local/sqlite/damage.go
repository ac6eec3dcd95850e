package sqlite

import "sync"

// maxFound bounds the damage that is kept until somebody is notified of it.
const maxFound = 100

// findings are the damage that no call returned as its error.
type findings struct {
	mu        sync.Mutex
	listeners map[int]func(error)
	last      int
	early     []error // found before the first listener
}

// NotifyDamage implements [driver.DamageFinder].
func (p *Provider) NotifyDamage(f func(error)) (stop func()) {
	d := &p.damage
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listeners == nil {
		d.listeners = map[int]func(error){}
	}
	d.last++
	id := d.last
	d.listeners[id] = f
	for _, err := range d.early {
		f(err)
	}
	d.early = nil
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.listeners, id)
	}
}

// found notifies the listeners of damage.
func (p *Provider) found(err error) {
	d := &p.damage
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.listeners) == 0 && len(d.early) < maxFound {
		d.early = append(d.early, err)
	}
	for _, f := range d.listeners {
		f(err)
	}
}
