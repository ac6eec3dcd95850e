package component

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// PlatformPlugin is the name of the plugin that every App has.
const PlatformPlugin = "Platform"

// App is an assembled application: all references are resolved.
type App struct {
	Name    string
	Plugins []Plugin
	// MaxDepth bounds the messages that cause one another.
	MaxDepth int

	placed map[*Definition]place
	offers map[*Definition]*Definition // by point
}

// Plugin is a plugin of an App.
type Plugin struct {
	Name       string
	Doc        string
	Heartbeat  time.Duration // negative means none
	Components []*Definition
}

type place struct{ plugin, name string }

// Assemble resolves the references between components. The error joins everything that
// is wrong, with the names of the components.
func Assemble(name string, plugins []Plugin) (*App, error) {
	app := &App{Name: name, Plugins: plugins, MaxDepth: 100, placed: map[*Definition]place{}, offers: map[*Definition]*Definition{}}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := ValidName(capital(name)); err != nil {
		fail("app %q: %w", name, err)
	}
	names := map[string]bool{}
	for _, p := range plugins {
		if names[p.Name] {
			fail("two plugins are named %s", p.Name)
		}
		names[p.Name] = true
		for _, d := range p.Components {
			if at, twice := app.placed[d]; twice {
				fail("%s %s.%s is also in plugin %s; a component belongs to one plugin", d.Kind, p.Name, d.Name, at.plugin)
				continue
			}
			app.placed[d] = place{p.Name, p.Name + "." + d.Name}
			if d.Offer == nil {
				continue
			}
			if other := app.offers[d.Offer.Point]; other != nil {
				fail("extension point %s is offered by both %s and %s.%s", d.Name, app.NameOf(other), p.Name, d.Name)
			}
			app.offers[d.Offer.Point] = d
		}
	}
	watched := map[*Definition]string{}
	for d, at := range app.placed {
		for _, s := range d.Sources() {
			if err := app.reachable(at, s, "is a source"); err != nil {
				fail("%s %s: %w", d.Kind, at.name, err)
			}
		}
		for _, t := range d.Targets() {
			switch {
			case t.Aggregate == nil && t.Point == nil && t.Counter == nil:
				fail("%s %s: it sends to %s, which is a %s and takes no commands", d.Kind, at.name, t.Name, t.Kind)
			default:
				if err := app.reachable(at, t, "is a target"); err != nil {
					fail("%s %s: %w", d.Kind, at.name, err)
				}
			}
		}
		for _, u := range d.Uses() {
			if u.ReadModel == nil && u.Kind != KindBucket {
				fail("%s %s: it uses %s, which is a %s; read models and buckets can be used", d.Kind, at.name, u.Name, u.Kind)
			} else if err := app.reachable(at, u, "is used"); err != nil {
				fail("%s %s: %w", d.Kind, at.name, err)
			}
		}
		if d.Task != nil && d.Task.Bucket != nil {
			if other, taken := watched[d.Task.Bucket]; taken {
				fail("bucket %s is watched by both %s and %s", d.Task.Bucket.Name, other, at.name)
			}
			watched[d.Task.Bucket] = at.name
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return app, errors.Join(errs...)
}

// reachable returns an error if a component at from cannot refer to d, because d is in no
// plugin or in another one.
func (a *App) reachable(from place, d *Definition, role string) error {
	if d.Point != nil {
		if a.offers[d] == nil {
			return fmt.Errorf("extension point %s %s, but no plugin offers it", d.Name, role)
		}
		return nil
	}
	at, ok := a.placed[d]
	switch {
	case !ok:
		return fmt.Errorf("%s %s %s, but belongs to no plugin of the app", d.Kind, d.Name, role)
	case at.plugin != from.plugin:
		return fmt.Errorf("%s %s %s, but belongs to another plugin; use an extension point", d.Kind, at.name, role)
	}
	return nil
}

// NameOf returns the logical name of a component, "<Plugin>.<Component>". The name of a
// point is that of its offer.
func (a *App) NameOf(d *Definition) string {
	if d.Point != nil && a.offers[d] != nil {
		d = a.offers[d]
	}
	return a.placed[d].name
}

// PluginOf returns the name of the plugin that a component belongs to.
func (a *App) PluginOf(d *Definition) string {
	if d.Point != nil && a.offers[d] != nil {
		d = a.offers[d]
	}
	return a.placed[d].plugin
}

// OfferOf returns the offer of a point.
func (a *App) OfferOf(point *Definition) *Offer { return a.offers[point].Offer }

// All yields the components with their logical names, in the order of declaration.
func (a *App) All(yield func(name string, d *Definition) bool) {
	for _, p := range a.Plugins {
		for _, d := range p.Components {
			if !yield(p.Name+"."+d.Name, d) {
				return
			}
		}
	}
}

// Lookup returns the component with a logical name.
func (a *App) Lookup(name string) (*Definition, bool) {
	for n, d := range a.All {
		if n == name {
			return d, true
		}
	}
	return nil, false
}

// Sources returns the components whose events the component consumes.
func (d *Definition) Sources() []*Definition {
	var out []*Definition
	switch {
	case d.ReadModel != nil:
		for _, p := range d.ReadModel.Projections {
			out = append(out, p.Source)
		}
	case d.Automation != nil:
		for _, r := range d.Automation.Rules {
			if !slices.Contains(out, r.Source) {
				out = append(out, r.Source)
			}
		}
	case d.Offer != nil:
		for _, p := range d.Offer.Publishes {
			out = append(out, p.Source)
		}
	}
	return out
}

// Targets returns the components that the component may address.
func (d *Definition) Targets() []*Definition {
	switch {
	case d.Automation != nil:
		return d.Automation.Targets
	case d.Offer != nil:
		return d.Offer.Targets
	case d.Task != nil:
		return d.Task.Targets
	case d.Schedule != nil:
		return []*Definition{d.Schedule.Action.Target}
	}
	return nil
}

// Uses returns the read models and buckets that the component opens.
func (d *Definition) Uses() []*Definition {
	var out []*Definition
	switch {
	case d.Automation != nil:
		out = append(out, d.Automation.Uses...)
	case d.Task != nil:
		out = append(out, d.Task.Uses...)
		if d.Task.Bucket != nil {
			out = append(out, d.Task.Bucket)
		}
	}
	return out
}

func capital(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
