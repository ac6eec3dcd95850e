package server

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/local/graphiql"
)

// Example is a document that the start page shows.
type Example struct{ Title, Query string }

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

type pageData struct {
	App      string
	DevUsers bool
	Examples []pageExample
	Plugins  []pagePlugin
}

type pageExample struct {
	Title, Query string
	Link         template.URL
}

type pagePlugin struct {
	Name, Doc  string
	Components []pageComponent
}

type pageComponent struct {
	Name, Kind, Doc string
	Operations      []string
}

// page returns the start page: the components of the application, and examples.
func (s *Server) page() ([]byte, error) {
	data := pageData{App: s.app.Name(), DevUsers: s.opts.DevUsers}
	examples := s.opts.Examples
	if len(examples) == 0 {
		examples = derivedExamples(s.app.API())
	}
	for _, e := range examples {
		values := url.Values{"query": {strings.TrimSpace(e.Query)}}
		if s.opts.DevUsers {
			values.Set("headers", `{"X-User": "admin"}`)
		}
		data.Examples = append(data.Examples, pageExample{e.Title, strings.TrimSpace(e.Query), template.URL(graphiql.Prefix + "?" + values.Encode())}) //nolint:gosec // values are encoded
	}
	operations := map[string][]string{}
	for _, o := range s.app.API().Operations {
		operations[o.Component] = append(operations[o.Component], o.Name)
	}
	for _, p := range s.app.Topology().Plugins {
		if p.Name == component.PlatformPlugin {
			continue
		}
		plugin := pagePlugin{Name: p.Name, Doc: p.Doc}
		for _, c := range p.Components {
			plugin.Components = append(plugin.Components, pageComponent{c.Name, c.Kind, c.Doc, slices.Compact(operations[c.Name])})
		}
		data.Plugins = append(data.Plugins, plugin)
	}
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, data)
	return b.Bytes(), err
}

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(s.pageBytes)
}

// derivedExamples returns a query of the first read model and the subscription to
// its changes.
func derivedExamples(schema *api.Schema) []Example {
	var out []Example
	for _, action := range []api.Action{api.ListRows, api.WatchRows} {
		i := slices.IndexFunc(schema.Operations, func(o *api.Operation) bool {
			return o.Action == action && !strings.HasPrefix(o.Component, component.PlatformPlugin+".")
		})
		if i < 0 {
			continue
		}
		o := schema.Operations[i]
		if action == api.ListRows {
			row := o.Result.Type.Field("edges").Type.List.Type.Field("node").Type.Type
			out = append(out, Example{"The rows of " + o.Component, fmt.Sprintf("query {\n  %s(first: 10) {\n    edges {\n      node { %s }\n    }\n  }\n}", o.Name, leaves(row))})
		} else {
			row := o.Result.Type.Field("row").Type.Type
			out = append(out, Example{"Every change of " + o.Component, fmt.Sprintf("subscription {\n  %s {\n    kind\n    row { %s }\n  }\n}", o.Name, leaves(row))})
		}
	}
	return out
}

// leaves returns the fields of a type that have no selections.
func leaves(t *api.Type) string {
	var names []string
	for _, f := range t.Fields {
		r := f.Type
		for r.List != nil {
			r = *r.List
		}
		if r.Type.Kind == api.Scalar || r.Type.Kind == api.Enum {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, " ")
}
