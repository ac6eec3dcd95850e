package api_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/readmodel"
)

// definition is a definition of the schema definition language, as a reader of
// GraphQL takes it.
type definition struct {
	word, doc string
	fields    []sdlField
	names     []string // values of an enum, members of a union
}

type sdlField struct {
	name, doc, typ string
	args           []sdlField
}

var token = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*|[{}()\[\]:!|=]`)

// parse reads a schema. It knows what the API writes, and fails on anything else.
func parse(t testing.TB, text string) map[string]*definition {
	t.Helper()
	var tokens []string
	for rest := text; ; {
		rest = strings.TrimLeft(rest, " \t\n,")
		if rest == "" {
			break
		}
		if strings.HasPrefix(rest, `"""`) {
			end := 3
			for !strings.HasPrefix(rest[end:], `"""`) {
				if strings.HasPrefix(rest[end:], `\"""`) {
					end += 3
				}
				end++
				if end >= len(rest) {
					t.Fatalf("a description does not end: %.80q", rest)
				}
			}
			tokens, rest = append(tokens, rest[:end+3]), rest[end+3:]
			continue
		}
		at := token.FindStringIndex(rest)
		if at == nil || at[0] != 0 {
			t.Fatalf("no token: %.40q", rest)
		}
		tokens, rest = append(tokens, rest[:at[1]]), rest[at[1]:]
	}
	next := func() string {
		if len(tokens) == 0 {
			t.Fatal("the schema ends too early")
		}
		s := tokens[0]
		tokens = tokens[1:]
		return s
	}
	peek := func() string {
		if len(tokens) == 0 {
			return ""
		}
		return tokens[0]
	}
	want := func(s string) {
		if got := next(); got != s {
			t.Fatalf("got %q, want %q", got, s)
		}
	}
	doc := func() string {
		if !strings.HasPrefix(peek(), `"""`) {
			return ""
		}
		return blockString(next())
	}
	typ := func() string {
		s := ""
		for slices.Contains([]string{"[", "]", "!"}, peek()) || s == "" || strings.HasSuffix(s, "[") {
			s += next()
		}
		return s
	}
	var field func() sdlField
	field = func() sdlField {
		f := sdlField{doc: doc(), name: next()}
		if peek() == "(" {
			for next(); peek() != ")"; {
				f.args = append(f.args, field())
			}
			next()
		}
		want(":")
		f.typ = typ()
		return f
	}
	out := map[string]*definition{}
	for len(tokens) > 0 {
		d := &definition{doc: doc(), word: next()}
		name := next()
		if out[name] != nil {
			t.Fatalf("%s is defined twice", name)
		}
		out[name] = d
		switch d.word {
		case "scalar":
		case "union":
			want("=")
			for d.names = append(d.names, next()); peek() == "|"; {
				next()
				d.names = append(d.names, next())
			}
		case "enum":
			for want("{"); peek() != "}"; {
				d.names = append(d.names, next())
			}
			next()
		case "type", "input":
			for want("{"); peek() != "}"; {
				d.fields = append(d.fields, field())
			}
			next()
			if len(d.fields) == 0 {
				t.Errorf("%s has no fields", name)
			}
		default:
			t.Fatalf("unknown definition %q", d.word)
		}
	}
	return out
}

// blockString is the value of a block string, by the rules of GraphQL.
func blockString(raw string) string {
	raw = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(raw, `"""`), `"""`), `\"""`, `"""`)
	lines := strings.Split(raw, "\n")
	indent := -1
	for i, l := range lines {
		if own := len(l) - len(strings.TrimLeft(l, " \t")); i > 0 && own < len(l) && (indent < 0 || own < indent) {
			indent = own
		}
	}
	for i := range lines {
		if i > 0 && indent > 0 {
			lines[i] = lines[i][min(indent, len(lines[i])):]
		}
	}
	for len(lines) > 0 && strings.Trim(lines[0], " \t") == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.Trim(lines[len(lines)-1], " \t") == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

// checkTypes checks that every type that is named exists, and is of a kind that
// may stand there.
func checkTypes(t testing.TB, defs map[string]*definition) {
	t.Helper()
	builtIn := []string{"ID", "String", "Int", "Float", "Boolean"}
	known := func(where, typ string, input bool) {
		name := strings.Trim(typ, "[]!")
		d := defs[name]
		switch {
		case slices.Contains(builtIn, name):
		case d == nil:
			t.Errorf("%s: there is no type %s", where, name)
		case input && (d.word == "type" || d.word == "union"), !input && d.word == "input":
			t.Errorf("%s: %s is no type for that: it is of the kind %s", where, name, d.word)
		}
	}
	for name, d := range defs {
		if slices.Contains(builtIn, name) {
			t.Errorf("%s is defined anew", name)
		}
		for _, m := range d.names {
			if d.word == "union" && (defs[m] == nil || defs[m].word != "type") {
				t.Errorf("union %s: there is no type %s", name, m)
			}
		}
		for _, f := range d.fields {
			known(name+"."+f.name, f.typ, d.word == "input")
			for _, a := range f.args {
				known(name+"."+f.name+"."+a.name, a.typ, true)
			}
		}
	}
}

func TestSDLSaysWhatTheSchemaHas(t *testing.T) {
	t.Parallel()
	e := entity("Thing", nil, Rich{}, Ping{})
	f := entity("Plan", nil, Ping{})
	s := schema(t, plug("Shop", e, rows("Riches", e, func(s *readmodel.Spec[Rich]) { s.Singular = "Rich" })),
		plug("Other", f, rows[Line]("Entries", f, func(s *readmodel.Spec[Line]) {
			s.Indexes = []readmodel.Index{{Name: "product", Key: "product", Sort: "quantity", Include: []string{"parts"}}}
		})))
	defs := parse(t, s.SDL())
	checkTypes(t, defs)
	for _, o := range s.Operations {
		d := defs[string(o.Kind)]
		i := slices.IndexFunc(d.fields, func(f sdlField) bool { return f.name == o.Name })
		if i < 0 {
			t.Errorf("no %s %s", o.Kind, o.Name)
			continue
		}
		if f := d.fields[i]; f.typ != o.Result.String() || f.doc != o.Doc || len(f.args) != len(o.Args) {
			t.Errorf("%s: got %+v, want %+v", o.Name, f, o)
		}
		for j, a := range o.Args {
			if got := d.fields[i].args[j]; got.name != a.Name || got.typ != a.Type.String() || got.doc != a.Doc {
				t.Errorf("%s: got the argument %+v, want %+v", o.Name, got, a)
			}
		}
	}
	for _, ty := range s.Types {
		d := defs[ty.Name]
		if d == nil || d.doc != ty.Doc || len(d.fields) != len(ty.Fields) || len(d.names) != len(ty.Values)+len(ty.Members) {
			t.Errorf("%s: got %+v, want %+v", ty.Name, d, ty)
			continue
		}
		for j, f := range ty.Fields {
			if got := d.fields[j]; got.name != f.Name || got.typ != f.Type.String() || got.doc != f.Doc {
				t.Errorf("%s: got the field %+v, want %+v", ty.Name, got, f)
			}
		}
	}
	// Two scalars and the three root types are no types of the schema's list.
	if len(defs) != len(s.Types)+5 {
		t.Errorf("there are %d definitions of %d types", len(defs), len(s.Types))
	}
	if got := s.Type("CommandAccepted").Unions(); !slices.Equal(got, []string{"CommandResult"}) {
		t.Errorf("CommandAccepted is in the unions %q", got)
	}
}

func TestSDLDependsOnTheAppAlone(t *testing.T) {
	t.Parallel()
	text := rich(t).SDL()
	for range 20 { // maps are ranged over in another order each time
		if other := rich(t).SDL(); other != text {
			t.Fatalf("the same App has two schemas:\n%s\n\n%s", text, other)
		}
	}
}

func TestAnAppWithoutCommandsHasNoMutations(t *testing.T) {
	t.Parallel()
	defs := parse(t, schema(t).SDL())
	checkTypes(t, defs)
	if defs["Mutation"] != nil || defs["Query"] == nil {
		t.Errorf("got the definitions %v", defs)
	}
	for _, unused := range []string{"DateTimeRange", "NumberListFilter"} {
		if defs[unused] != nil {
			t.Errorf("%s is there, and nothing uses it", unused)
		}
	}
}

func TestDescriptionsReadBack(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		"Plain.", `It is "quoted".`, `"All of it"`, `ends with "quotes"`, `ends with """`, `""" begins`, `with """ inside and """" and """"" too`,
		`back\slash`, `ends with \`, `\""" was escaped`, "two\nlines", "code:\n\n\tfirst\n\t\tsecond\n\nend", "  leading and trailing  ",
		"windows\r\nlines", "# no comment", "ümläut 😀", "many\n\n\nempty lines", "{ } ( ) : ! | = @", "",
	} {
		e := entity("Thing", func(s *aggregate.Spec[struct{}, command, event]) { s.Doc = doc }, Ping{})
		s := schema(t, plug("Shop", e, rows("Lists", e, func(s *readmodel.Spec[plain]) { s.Doc = doc })))
		defs := parse(t, s.SDL())
		want := strings.ReplaceAll(strings.TrimSpace(doc), "\r", "")
		if got := defs["ShopList"].doc; got != want {
			t.Errorf("of a type: got %q, want %q", got, want)
		}
		i := slices.IndexFunc(defs["Mutation"].fields, func(f sdlField) bool { return f.name == "shopThingPing" })
		if got := defs["Mutation"].fields[i].doc; !strings.Contains(got, want) {
			t.Errorf("of a command: got %q, want %q in it", got, want)
		}
	}
}
