package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/local/internal/server"
)

// generator writes documents that are valid for a schema.
type generator struct {
	*rand.Rand
	schema *ast.Schema
	known  []string // existing ids, cursors and positions

	fragments strings.Builder
	declared  []string
	variables map[string]any
	names     int // the number of generated names
}

func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

func (g *generator) name(prefix string) string {
	g.names++
	return prefix + strconv.Itoa(g.names)
}

// document writes one document with an operation of a random kind.
func (g *generator) document() (text, operationName string) {
	root, fields := g.schema.Query, 1+g.IntN(3)
	switch g.IntN(10) {
	case 0, 1, 2:
		root = g.schema.Mutation
	case 3:
		root, fields = g.schema.Subscription, 1
	}
	operations := slices.DeleteFunc(slices.Clone(root.Fields), func(f *ast.FieldDefinition) bool {
		return strings.HasPrefix(f.Name, "__") || strings.HasSuffix(f.Name, "Crash") // it panics
	})
	body := ""
	for range fields {
		body += g.field(pick(g, operations), 0)
	}
	if root == g.schema.Query && g.one(4) {
		body += " __typename"
	}
	name := ""
	if g.one(3) {
		name = g.name("Op")
	}
	text = strings.ToLower(root.Name) + " " + name
	if len(g.declared) > 0 {
		text += "(" + strings.Join(g.declared, ", ") + ")"
	}
	text += " {" + body + " }" + g.fragments.String()
	if name != "" && g.one(2) {
		return text + "\nquery Other { __typename }", name
	}
	return text, ""
}

// field writes a field with its arguments and selections.
func (g *generator) field(f *ast.FieldDefinition, depth int) string {
	text := " "
	if len(f.Arguments) > 0 || g.one(5) {
		text += g.name("a") + ": "
	}
	text += f.Name
	var given []string
	for _, a := range f.Arguments {
		if a.Type.NonNull || g.one(3) {
			given = append(given, a.Name+": "+g.argument(a.Type))
		}
	}
	if len(given) > 0 {
		g.Shuffle(len(given), func(i, j int) { given[i], given[j] = given[j], given[i] })
		text += "(" + strings.Join(given, ", ") + ")"
	}
	if depth > 0 {
		text += g.directive()
	}
	if t := g.schema.Types[f.Type.Name()]; t.IsCompositeType() {
		text += " {" + g.selection(t, depth+1) + " }"
	}
	return text
}

// directive sometimes writes @skip or @include.
func (g *generator) directive() string {
	if !g.one(12) {
		return ""
	}
	return pick(g, []string{" @skip", " @include"}) + "(if: " + g.argument(ast.NonNullNamedType("Boolean", nil)) + ")"
}

// selection writes the selections of an object or union.
func (g *generator) selection(t *ast.Definition, depth int) string {
	text, fields := "", t.Fields
	if depth > 6 { // some types are recursive
		fields = slices.DeleteFunc(slices.Clone(fields), func(f *ast.FieldDefinition) bool { return g.schema.Types[f.Type.Name()].IsCompositeType() })
	}
	if len(fields) == 0 || g.one(6) { // unions always have it
		text += " __typename"
	}
	if len(fields) == 0 && t.Kind != ast.Union {
		return text
	}
	for range 1 + g.IntN(4) {
		of := t
		if t.Kind == ast.Union {
			of = g.schema.Types[pick(g, append(t.Types[:len(t.Types):len(t.Types)], t.Name))]
		} else if depth > 6 || !g.one(5) {
			text += g.field(pick(g, fields), depth)
			continue
		}
		// An inline or named fragment, with or without a type condition.
		switch sub := g.selection(of, depth+1); {
		case g.one(3):
			name := g.name("F")
			g.fragments.WriteString("\nfragment " + name + " on " + of.Name + " {" + sub + " }")
			text += strings.Repeat(" ..."+name+g.directive(), 1+g.IntN(2))
		case of == t && g.one(3):
			text += " ..." + g.directive() + " {" + sub + " }"
		default:
			text += " ... on " + of.Name + g.directive() + " {" + sub + " }"
		}
	}
	return text
}

// argument writes the value of an argument, or a variable that has it.
func (g *generator) argument(t *ast.Type) string {
	value := g.value(t)
	if g.one(2) {
		return literal(value)
	}
	name := g.name("v")
	declaration := "$" + name + ": " + t.String()
	switch given := true; {
	case t.NonNull:
	case g.one(4):
		declaration += " = " + literal(value)
		given = g.one(2)
		fallthrough
	case g.one(6):
		if given = given && g.one(2); !given {
			g.declared = append(g.declared, declaration)
			return "$" + name // the default, or null
		}
	case value != nil && g.one(4):
		declaration += "!"
	}
	g.declared = append(g.declared, declaration)
	g.variables[name] = value
	return "$" + name
}

// enum is a value of an enum, which is written without quotes.
type enum string

// value generates a value of a type.
func (g *generator) value(t *ast.Type) any {
	if !t.NonNull && g.one(12) {
		return nil
	}
	if t.Elem != nil {
		if g.one(6) {
			return g.value(&ast.Type{NamedType: t.Elem.NamedType, Elem: t.Elem.Elem, NonNull: true}) // a single value for a list
		}
		list := []any{}
		for range g.IntN(4) {
			list = append(list, g.value(t.Elem))
		}
		return list
	}
	switch d := g.schema.Types[t.NamedType]; d.Kind {
	case ast.Enum:
		return enum(pick(g, d.EnumValues).Name)
	case ast.InputObject:
		object := map[string]any{}
		for _, f := range d.Fields {
			if f.Type.NonNull || g.one(min(len(d.Fields), 3)) {
				object[f.Name] = g.value(f.Type)
			}
		}
		return object
	}
	switch t.NamedType {
	case "Boolean":
		return g.one(2)
	case "Int":
		return json.Number(pick(g, []string{"0", "1", "2", "5", "20", "100", "101", "-1", "-2147483648", "2147483647"}))
	case "Float":
		return json.Number(pick(g, []string{"0", "-0.0", "1", "499", "2.55", "-1", "1e3", "1e308", "-1e308", "5e-324", "0.1", "9007199254740991", "9007199254740993", "-9007199254740993", "123456789012345678901234567890.5"}))
	case "AWSDateTime":
		return pick(g, []string{"2010-12-01T08:26:00Z", "2010-12-01T09:26:00.123456789+01:00", "9999-12-31T23:59:59.999999999-14:00", "2010-12-01", "noon", "", "2010-02-30T00:00:00Z"})
	case "ID":
		if g.one(5) {
			return json.Number(pick(g, []string{"0", "-1", "22752", "9007199254740993"}))
		}
	}
	if g.one(2) {
		return pick(g, g.known)
	}
	return pick(g, []string{
		"", "x", "user", "metal", " ", "\x00", "a\x00b", "\n\r\t", "\x7f", "%", "_", "'; DROP TABLE rows; --", `"quoted" \ back`,
		"\u202eright to left", "\U0001f600", "\ufeff", "\ufffd", "\uffff", "e\u0301", strings.Repeat("x", 1000), strings.Repeat("\u00fc", 3000), "null", "{}", "[]", "../../etc",
	})
}

// literal writes a value as a literal in a document.
func literal(v any) string {
	var parts []string
	switch v := v.(type) {
	case enum:
		return string(v)
	case []any:
		for _, e := range v {
			parts = append(parts, literal(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		for name, e := range v {
			parts = append(parts, name+": "+literal(e))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a string, number, bool or null
	return strings.TrimSpace(b.String())
}

// member is a member of a JSON object.
type member struct {
	key   string
	value any // nil, bool, json.Number, string, []any, []member
}

// ordered reads JSON and keeps all members of objects, in order.
func ordered(d *json.Decoder) (any, error) {
	token, err := d.Token()
	object, list := []member{}, []any{}
	switch token {
	case json.Delim('{'):
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			object = append(object, member{key.(string), value})
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		for d.More() {
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	return token, err
}

// oracle computes from a document which members its answer must have.
type oracle struct {
	schema    *ast.Schema
	fragments ast.FragmentDefinitionList
	variables map[string]any
}

// asked is an expected member of an answer with its selections.
type asked struct {
	key, name string
	of        *ast.Type
	selected  ast.SelectionSet
}

// members collects the expected members of an object of a type.
func (o *oracle) members(of string, selected ast.SelectionSet, into []asked) []asked {
	for _, s := range selected {
		switch s := s.(type) {
		case *ast.Field:
			i := slices.IndexFunc(into, func(a asked) bool { return a.key == s.Alias })
			switch {
			case !o.included(s.Directives):
			case i < 0:
				into = append(into, asked{s.Alias, s.Name, s.Definition.Type, s.SelectionSet})
			default:
				into[i].selected = slices.Concat(into[i].selected, s.SelectionSet)
			}
		case *ast.InlineFragment:
			if o.included(s.Directives) && (s.TypeCondition == "" || o.holds(s.TypeCondition, of)) {
				into = o.members(of, s.SelectionSet, into)
			}
		case *ast.FragmentSpread:
			if f := o.fragments.ForName(s.Name); o.included(s.Directives) && o.holds(f.TypeCondition, of) {
				into = o.members(of, f.SelectionSet, into)
			}
		}
	}
	return into
}

// holds reports whether an object of a type satisfies a type condition.
func (o *oracle) holds(condition, of string) bool {
	return condition == of || slices.Contains(o.schema.Types[condition].Types, of)
}

func (o *oracle) included(directives ast.DirectiveList) bool {
	return !slices.ContainsFunc(directives, func(d *ast.Directive) bool {
		v, err := d.Arguments.ForName("if").Value.Value(o.variables)
		return err != nil || v == (d.Name == "skip")
	})
}

// check checks a value against the type of its field.
func (o *oracle) check(path string, got any, a asked) error {
	if got == nil {
		if a.of.NonNull {
			return fmt.Errorf("%s: null, want %s", path, a.of)
		}
		return nil
	}
	wrong := fmt.Errorf("%s: got %.100v, want %s", path, got, a.of)
	if a.of.Elem != nil {
		list, ok := got.([]any)
		if !ok {
			return wrong
		}
		for i, e := range list {
			if err := o.check(fmt.Sprintf("%s[%d]", path, i), e, asked{of: a.of.Elem, selected: a.selected}); err != nil {
				return err
			}
		}
		return nil
	}
	ok := false
	switch d := o.schema.Types[a.of.NamedType]; d.Kind {
	case ast.Object:
		return o.checkObject(path, got, d.Name, a.selected)
	case ast.Union: // the document asks for the name of the type first
		object, _ := got.([]member)
		if len(object) == 0 || !slices.Contains(d.Types, fmt.Sprint(object[0].value)) {
			return wrong
		}
		return o.checkObject(path, got, fmt.Sprint(object[0].value), a.selected)
	case ast.Enum:
		s, _ := got.(string)
		ok = d.EnumValues.ForName(s) != nil
	case ast.Scalar:
		s, isText := got.(string)
		number, isNumber := got.(json.Number)
		switch d.Name {
		case "Boolean":
			_, ok = got.(bool)
		case "Float":
			ok = isNumber
		case "Int":
			_, err := strconv.ParseInt(number.String(), 10, 32)
			ok = isNumber && err == nil
		case "AWSDateTime":
			_, err := time.Parse(time.RFC3339Nano, s)
			ok = err == nil
		case "AWSJSON":
			ok = isText && json.Valid([]byte(s))
		default:
			ok = isText
		}
	}
	if !ok {
		return wrong
	}
	return nil
}

// checkObject checks the members of an object of a type.
func (o *oracle) checkObject(path string, got any, of string, selected ast.SelectionSet) error {
	object, ok := got.([]member)
	want := o.members(of, selected, nil)
	if !ok || len(object) != len(want) {
		return fmt.Errorf("%s: got %.200v, want an object with %d members", path, got, len(want))
	}
	for i, m := range object {
		if m.key != want[i].key || want[i].name == "__typename" && m.value != of {
			return fmt.Errorf("%s: member %d of a %s is %q: %.100v, want %s", path, i, of, m.key, m.value, want[i].key)
		}
		if err := o.check(path+"."+m.key, m.value, want[i]); err != nil {
			return err
		}
	}
	return nil
}

// codes are the error codes that a valid document can get without an internal failure.
var codes = []string{
	"", "UNAUTHENTICATED", "FORBIDDEN", "BAD_USER_INPUT", "PAGE_SIZE", "TOO_LARGE", "WAIT_TIMEOUT",
	"DEPTH_LIMIT", "ALIAS_LIMIT", "COMPLEXITY_LIMIT", "COMMAND_ID_REUSED", "COMMAND_ID_UNVERIFIED",
}

// Every valid document gets data of the requested shape or errors with a known code,
// never an internal error.
func FuzzDocuments(f *testing.F) {
	base, _ := testenv.Seed(f)
	for i := range uint64(1000) {
		f.Add(base + i)
	}
	s := serve(f, server.Options{Limits: server.Limits{Wait: 20 * time.Millisecond}})
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: depot().API().SDL()})
	if err != nil {
		f.Fatal(err)
	}
	s.put("bolt", boltData)
	s.put("nut", `{"group": "metal", "count": 2, "tags": []}`)
	s.send("Parcel", "Post", "parcel", `{"owner": "admin", "lines": [{"place": "1", "text": "x"}, {"place": "2", "text": "y"}]}`)
	var known []string
	for _, query := range []string{
		`{depotItems(orderBy: {field: count}) {edges {cursor node {id group}}} depotItemEvents(id: "bolt") {edges {cursor}} depotLineItems(id: "parcel") {edges {cursor node {id place}}}}`,
		`mutation {depotItemPaint(id: "bolt", color: "red", commandId: "known") {... on CommandAccepted {commandId position}}}`,
	} {
		for d := json.NewDecoder(strings.NewReader(s.do(query, as("admin")).text)); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				f.Fatal(err)
			}
			if text, ok := token.(string); ok {
				known = append(known, text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), schema: schema, known: known, variables: map[string]any{}}
		text, operation := g.document()
		document, wrong := gqlparser.LoadQueryWithRules(schema, text, rules.NewDefaultRules())
		if wrong != nil {
			t.Fatalf("the document is not valid: %v\n%s", wrong, text)
		}
		s := *s
		s.t = t
		opts := []option{named(operation), func(c *call) { c.body["variables"] = g.variables }}
		who := []string{"", "user", "admin", "admin", "admin", "admin"}[g.IntN(6)]
		if who != "" {
			opts = append(opts, as(who))
		}
		r := s.do(text, opts...)
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("%s\nas %q: %s\nvariables: %.3000v\noperation: %q\nstatus %d: %.1000s\nseed: %d", fmt.Sprintf(format, args...), who, text, g.variables, operation, r.status, r.text, seed)
		}
		if code := r.code(); !slices.Contains(codes, code) || r.status != http.StatusOK && (code == "" || r.status < 400 || r.status > 499) {
			fail("the code is %q", code)
		}
		var data any
		if len(r.Data) > 0 {
			d := json.NewDecoder(bytes.NewReader(r.Data))
			d.UseNumber()
			var err error
			if data, err = ordered(d); err != nil {
				fail("the data is no JSON: %v", err)
			}
		}
		if data == nil {
			if len(r.Errors) == 0 {
				fail("neither data nor errors")
			}
			return
		}
		if document.Operations[0].Operation == ast.Subscription {
			fail("a subscription is answered without a stream")
		}
		variables := map[string]any{}
		for _, v := range document.Operations[0].VariableDefinitions {
			if v.DefaultValue != nil {
				variables[v.Variable], _ = v.DefaultValue.Value(nil)
			}
		}
		for name, v := range g.variables {
			variables[name] = v
		}
		o := &oracle{schema, document.Fragments, variables}
		root := map[ast.Operation]string{ast.Query: "Query", ast.Mutation: "Mutation"}[document.Operations[0].Operation]
		if err := o.checkObject("data", data, root, document.Operations[0].SelectionSet); err != nil {
			fail("%v", err)
		}
	})
}
