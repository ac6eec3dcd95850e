package api

import (
	"fmt"
	"strings"
)

// SDL returns the schema in GraphQL's schema definition language. The text depends only
// on the App.
func (s *Schema) SDL() string {
	var b strings.Builder
	for _, t := range []*Type{dateTimeType, jsonType} {
		description(&b, "", t.Doc)
		fmt.Fprintf(&b, "scalar %s\n\n", t.Name)
	}
	for _, kind := range []OperationKind{Query, Mutation, Subscription} {
		var fields []string
		for _, o := range s.Operations {
			if o.Kind == kind {
				fields = append(fields, operation(o))
			}
		}
		if len(fields) > 0 {
			fmt.Fprintf(&b, "type %s {\n%s}\n\n", kind, strings.Join(fields, "\n"))
		}
	}
	for i, t := range s.Types {
		if i > 0 {
			b.WriteString("\n")
		}
		definition(&b, t)
	}
	return b.String()
}

func operation(o *Operation) string {
	var b strings.Builder
	description(&b, "  ", o.Doc)
	b.WriteString("  " + o.Name)
	documented := false
	for _, a := range o.Args {
		documented = documented || a.Doc != ""
	}
	switch {
	case documented:
		b.WriteString("(\n")
		for _, a := range o.Args {
			description(&b, "    ", a.Doc)
			fmt.Fprintf(&b, "    %s: %s\n", a.Name, a.Type)
		}
		b.WriteString("  )")
	case len(o.Args) > 0:
		b.WriteString("(")
		for i, a := range o.Args {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s: %s", a.Name, a.Type)
		}
		b.WriteString(")")
	}
	fmt.Fprintf(&b, ": %s\n", o.Result)
	return b.String()
}

func definition(b *strings.Builder, t *Type) {
	description(b, "", t.Doc)
	switch t.Kind {
	case Union:
		names := make([]string, len(t.Members))
		for i, m := range t.Members {
			names[i] = m.Name
		}
		fmt.Fprintf(b, "union %s = %s\n", t.Name, strings.Join(names, " | "))
	case Enum:
		fmt.Fprintf(b, "enum %s {\n", t.Name)
		for _, v := range t.Values {
			fmt.Fprintf(b, "  %s\n", v)
		}
		b.WriteString("}\n")
	default:
		word := "type"
		if t.Kind == Input {
			word = "input"
		}
		fmt.Fprintf(b, "%s %s {\n", word, t.Name)
		for _, f := range t.Fields {
			description(b, "  ", f.Doc)
			fmt.Fprintf(b, "  %s: %s\n", f.Name, f.Type)
		}
		b.WriteString("}\n")
	}
}

// description writes a block string. The text comes from the declaration, so quotes that
// would end it are escaped.
func description(b *strings.Builder, indent, text string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), `"""`, `\"""`)
	lines := strings.Split(text, "\n")
	if len(lines) == 1 && !strings.HasSuffix(text, `"`) && !strings.HasSuffix(text, `\`) {
		fmt.Fprintf(b, "%s\"\"\"%s\"\"\"\n", indent, text)
		return
	}
	b.WriteString(indent + "\"\"\"\n")
	for _, l := range lines {
		b.WriteString(strings.TrimRight(indent+l, " \t") + "\n")
	}
	b.WriteString(indent + "\"\"\"\n")
}
