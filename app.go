package reventless

import (
	"fmt"

	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/platform"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/topology"
)

// App is a declared application. It is inert: hosts run it.
type App struct {
	assembled
	derived
}

type (
	assembled = component.Assembled
	derived   = api.Derived
)

// New declares an application. Its name is a letter followed by letters and digits;
// resources are named after it.
//
// Every App also has the plugin Platform, which tracks the other plugins by their
// heartbeats.
//
// New panics with everything that is wrong, naming the components:
//   - A component is missing from all plugins, or is in two.
//   - A component refers to another plugin without an extension point.
//   - An extension point has no offer, or two.
//   - A bucket has two tasks.
//   - The API cannot express a command or a row, or two names in the API collide.
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
	return &App{component.Wrap(app), api.Wrap(schema)}
}

// WithMaxDepth returns the application with another limit of the length of a chain, which
// consists of messages that cause one another without a delay of at least a second. The
// default is 100. A command beyond the limit is parked,
// with its chain in the reason: an automation that triggers itself would otherwise run for
// ever. WithMaxDepth panics if n is less than 1.
func (a *App) WithMaxDepth(n int) *App {
	if n < 1 {
		panic(fmt.Sprintf("app %s: a maximum depth of %d", a.Name(), n))
	}
	app := *a.Assembled()
	app.MaxDepth = n
	return &App{component.Wrap(&app), a.derived}
}

// Name returns the application's name.
func (a *App) Name() string { return a.Assembled().Name }

// Topology describes the application as plain data.
func (a *App) Topology() topology.App { return a.Assembled().Topology() }

// SDL returns the schema of the application's GraphQL API in GraphQL's schema
// definition language.
//
// Each command is a mutation. Each read model is a query by id, a query that lists
// rows, a query per index, and a subscription to its changes. The schema has only
// what AppSync can express. Go types map to GraphQL types like this:
//
//	string                              String
//	bool                                Boolean
//	int8, int16, int32, uint8, uint16   Int
//	int, int64, uint, uint32, uint64    Float, whole and within ±2^53
//	float32, float64, json.Number       Float
//	time.Time                           AWSDateTime
//	json.RawMessage                     AWSJSON
//	[]byte                              String, in base64
//	encoding.TextMarshaler              String
//	slice, array                        list
//	struct                              object; in arguments, input object
//	pointer                             nullable
//
// A field has its JSON name, with a lower-case first letter. Maps, interfaces and
// types that implement json.Marshaler cannot be expressed: use a list of structs or
// json.RawMessage, or exclude the component from the API with access.Internal.
func (a *App) SDL() string { return a.API().SDL() }
