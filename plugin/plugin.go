// Package plugin groups components into a plugin, which is a bounded context.
//
//	var Ordering = plugin.New(plugin.Spec{
//		Name:       "Ordering",
//		Components: plugin.Components{order.Aggregate, views.Orders},
//	})
//
// The logical name of a component is "<Plugin>.<Component>". A component refers to
// components of its own plugin only. To work with another plugin it uses an
// extension point; see package extension.
package plugin

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/internal/component"
)

// Component is a declared component, such as an aggregate or a read model. The
// packages of this module make them.
type Component interface{ declared }

type declared interface{ Definition() *component.Definition }

// Components is a list of components.
type Components []Component

// Env is what side effects, tasks and other impure functions get from the host. The
// read models and buckets that the component lists under Uses are opened with it:
// views.Orders.Open(env).
type Env interface {
	// Now returns the time of the host's clock.
	Now() time.Time
	// IdempotencyKey returns a key that is the same at every repetition of this
	// call. Outside services recognize a repeated request by it.
	IdempotencyKey() string

	opener
}

type opener = component.Opener

// Spec declares a plugin.
type Spec struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// Components belong to the plugin, in any order. A component belongs to one
	// plugin only.
	Components Components
	// Heartbeat is the interval in which the plugin reports to the plugin Platform
	// that it is running, in whole minutes: 0 means [DefaultHeartbeat], negative
	// means never.
	Heartbeat time.Duration
}

// DefaultHeartbeat is the interval of a plugin that declares none.
const DefaultHeartbeat = 5 * time.Minute

// Plugin is a declared plugin.
type Plugin struct{ spec Spec }

// New declares a plugin. It panics, naming the plugin, when a name is invalid, when
// two components have the same name, and when Heartbeat is not in whole minutes.
func New(spec Spec) *Plugin {
	if err := component.ValidName(spec.Name); err != nil {
		panic(fmt.Sprintf("plugin %q: %v", spec.Name, err))
	}
	if spec.Heartbeat == 0 {
		spec.Heartbeat = DefaultHeartbeat
	}
	if spec.Heartbeat > 0 && spec.Heartbeat%time.Minute != 0 {
		panic(fmt.Sprintf("plugin %s: a heartbeat of %v is not in whole minutes", spec.Name, spec.Heartbeat))
	}
	seen := map[string]component.Kind{}
	for i, c := range spec.Components {
		if c == nil {
			panic(fmt.Sprintf("plugin %s: component %d is nil; check the initialization order of the package variables", spec.Name, i+1))
		}
		d := c.Definition()
		if other, dup := seen[d.Name]; dup {
			panic(fmt.Sprintf("plugin %s: two components are named %s: %s and %s", spec.Name, d.Name, other, d.Kind))
		}
		seen[d.Name] = d.Kind
	}
	return &Plugin{spec}
}

// Name returns the plugin's name.
func (p *Plugin) Name() string { return p.spec.Name }

// Spec returns the declaration with its defaults.
func (p *Plugin) Spec() Spec { return p.spec }
