package topology

import (
	"fmt"
	"strings"
)

// Mermaid returns the App as a Mermaid flow chart: a box for each plugin, solid arrows
// for events, dashed arrows for commands and counts.
func (a App) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	id := func(name string) string { return strings.ReplaceAll(name, ".", "_") }
	for _, p := range a.Plugins {
		fmt.Fprintf(&b, "  subgraph %s\n", p.Name)
		for _, c := range p.Components {
			short := strings.TrimPrefix(c.Name, p.Name+".")
			open, shut := shape(c.Kind)
			fmt.Fprintf(&b, "    %s%s\"%s\"%s\n", id(c.Name), open, short, shut)
		}
		b.WriteString("  end\n")
	}
	for _, p := range a.Plugins {
		for _, c := range p.Components {
			seen := map[string]bool{}
			for _, s := range c.Sources {
				from := s.Log
				if s.Point != "" {
					from = s.Point
				}
				if !seen[from] {
					fmt.Fprintf(&b, "  %s --> %s\n", id(from), id(c.Name))
				}
				seen[from] = true
			}
			if c.Bucket != "" {
				fmt.Fprintf(&b, "  %s --> %s\n", id(c.Bucket), id(c.Name))
			}
			for _, t := range c.Targets {
				fmt.Fprintf(&b, "  %s -.-> %s\n", id(c.Name), id(t))
			}
		}
	}
	return b.String()
}

func shape(kind string) (open, shut string) {
	switch kind {
	case "Aggregate", "Counter":
		return "[[", "]]"
	case "ReadModel", "Bucket":
		return "[(", ")]"
	case "ExtensionPoint", "Extension":
		return "{{", "}}"
	case "Schedule":
		return "((", "))"
	default:
		return "(", ")"
	}
}
