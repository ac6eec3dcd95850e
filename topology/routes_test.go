package topology_test

import (
	"slices"
	"testing"

	"github.com/reventless-go/reventless/topology"
)

// reads returns an App in which each component reads the logs named; those at "P:log"
// read at an extension point.
func reads(readers ...[]string) topology.App {
	var p topology.Plugin
	for _, r := range readers {
		c := topology.Component{Name: r[0]}
		for _, log := range r[1:] {
			s := topology.Source{Log: log}
			if log[0] == '@' {
				s = topology.Source{Log: log[1:], Point: "P.Point"}
			}
			c.Sources = append(c.Sources, s)
		}
		p.Components = append(p.Components, c)
	}
	return topology.App{Plugins: []topology.Plugin{p}}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	type route = topology.Route
	for _, c := range []struct {
		name  string
		app   topology.App
		bound int
		want  []route
	}{
		{"nobody reads", reads([]string{"A"}), 2, nil},
		{"without a bound nobody needs a topic", reads([]string{"A", "L"}, []string{"B", "L"}, []string{"C", "@L"}), 0, []route{{"L", "A", false}, {"L", "B", false}, {"L", "C", false}}},
		{"as many as may", reads([]string{"A", "L"}, []string{"B", "L"}), 2, []route{{"L", "A", false}, {"L", "B", false}}},
		{"one too many: all, because the relay reads too", reads([]string{"A", "L"}, []string{"B", "L"}, []string{"C", "L"}), 2, []route{{"L", "A", true}, {"L", "B", true}, {"L", "C", true}}},
		{"another plugin's consumer never reads a feed", reads([]string{"A", "@L"}, []string{"B", "L"}), 2, []route{{"L", "B", false}, {"L", "A", true}}},
		{"a log at two points is read once", reads([]string{"A", "@L", "@L"}), 2, []route{{"L", "A", true}}},
		{"logs apart", reads([]string{"A", "L", "M"}, []string{"B", "M"}), 1, []route{{"L", "A", false}, {"M", "A", true}, {"M", "B", true}}},
	} {
		if got := c.app.Routes(c.bound); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
