package host

import (
	"fmt"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// env is what an impure function of a component may open.
type env struct {
	host *Host
	name string
	uses []*component.Definition // nil allows everything
	all  bool
	key  string
}

func (e *env) Now() time.Time         { return e.host.opts.Now() }
func (e *env) IdempotencyKey() string { return e.key }

func (e *env) allowed(d *component.Definition) error {
	if e.all || slices.Contains(e.uses, d) {
		return nil
	}
	return fmt.Errorf("%s opens %s %s without declaring that it uses it: %w", e.name, d.Kind, d.Name, driver.ErrInvalid)
}

func (e *env) OpenRows(d *component.Definition) (driver.QueryDb, driver.QueryEngine, string, error) {
	name := e.host.app.NameOf(d)
	if err := e.allowed(d); err != nil {
		return nil, nil, name, err
	}
	r := e.host.readModels[name]
	if r == nil {
		return nil, nil, name, fmt.Errorf("read model %s is not in the app: %w", d.Name, driver.ErrNotFound)
	}
	return r.db, e.host.engine, name, nil
}

func (e *env) OpenBucket(d *component.Definition) (driver.Bucket, error) {
	if err := e.allowed(d); err != nil {
		return nil, err
	}
	b := e.host.buckets[d]
	if b == nil {
		return nil, fmt.Errorf("bucket %s is not in the app: %w", d.Name, driver.ErrNotFound)
	}
	return b, nil
}

// Env returns an env for whoever runs the App: it opens everything.
func (h *Host) Env() component.Env { return &env{host: h, name: "the host", all: true} }
