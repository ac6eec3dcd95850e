package effects

import (
	"fmt"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// env is what a component's impure function gets from the host.
type env struct {
	effects *Effects
	name    string // of the component; empty may open everything
	uses    []*component.Definition
	key     string
}

// Env returns the env for a function of a component, which may open what uses lists.
// key is the same for every retry of a call.
func (e *Effects) Env(name, key string, uses []*component.Definition) component.Env {
	return &env{effects: e, name: name, uses: uses, key: key}
}

func (e *env) Now() time.Time         { return e.effects.Core.Now() }
func (e *env) IdempotencyKey() string { return e.key }

func (e *env) allowed(d *component.Definition) error {
	if e.name == "" || slices.Contains(e.uses, d) {
		return nil
	}
	return fmt.Errorf("%s opens %s %s without declaring that it uses it: %w", e.name, d.Kind, d.Name, driver.ErrInvalid)
}

func (e *env) OpenRows(d *component.Definition) (driver.QueryDb, driver.QueryEngine, string, error) {
	name := e.effects.App.NameOf(d)
	if err := e.allowed(d); err != nil {
		return nil, nil, name, err
	}
	rows := e.effects.Rows[name]
	if rows == nil {
		return nil, nil, name, fmt.Errorf("read model %s is not in the App: %w", d.Name, driver.ErrNotFound)
	}
	return rows, e.effects.Engine, name, nil
}

func (e *env) OpenBucket(d *component.Definition) (driver.Bucket, error) {
	if err := e.allowed(d); err != nil {
		return nil, err
	}
	b := e.effects.Buckets[d]
	if b == nil {
		return nil, fmt.Errorf("bucket %s is not in the App: %w", d.Name, driver.ErrNotFound)
	}
	return b, nil
}
