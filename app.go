package reventless

import (
	"fmt"

	"github.com/reventless-go/reventless/api"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/platform"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/topology"
)

// App is a declared application: named plugins. It is inert; hosts run it.
type App struct {
	assembled

	api *api.Schema
}

type assembled = component.Assembled

// New assembles an application. The name starts with a letter and has letters
// and digits only; resources are named after it.
//
// Every App has a plugin Platform beside its own, which keeps track of the
// others by their heartbeats.
//
// New panics with all that is wrong, each finding naming its component: a
// source, target or used component that belongs to no plugin, a component in two
// plugins, an extension point that nobody offers or two offer, a reference into
// another plugin that does not go through an extension point, a bucket watched
// by two tasks, a command or row that the API cannot express, names that collide
// in the API.
func New(name string, plugins ...*plugin.Plugin) *App {
	all := make([]component.Plugin, 0, len(plugins)+1)
	for i, p := range plugins {
		if p == nil {
			panic(fmt.Sprintf("app %s: plugin %d is nil", name, i+1))
		}
		s := p.Spec()
		all = append(all, component.Plugin{
			Name: s.Name, Doc: s.Doc, Heartbeat: s.Heartbeat, Components: component.Definitions(s.Components),
		})
	}
	app, err := component.Assemble(name, append(all, platform.Plugin()))
	if err != nil {
		panic(fmt.Sprintf("app %s: %v", name, err))
	}
	schema, err := api.New(app)
	if err != nil {
		panic(fmt.Sprintf("app %s: %v", name, err))
	}
	return &App{component.Wrap(app), schema}
}

// Name returns the application's name.
func (a *App) Name() string { return a.Assembled().Name }

// Topology returns the application as plain data.
func (a *App) Topology() topology.App { return a.Assembled().Topology() }

// API returns the GraphQL API that is derived from the application.
func (a *App) API() *api.Schema { return a.api }
