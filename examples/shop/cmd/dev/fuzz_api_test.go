package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/local"
)

// generator writes documents that are valid for a schema, and remembers what their
// answers have to look like.
type generator struct {
	random *rand.Rand
	schema *api.Schema
	known  []string // ids, cursors and positions that exist

	text      strings.Builder // of the fragments
	declared  []string
	variables map[string]any
	names     int // how many were made up
}

// generated is what is sent, and the answer's shape.
type generated struct {
	Query         string         `json:"query"`
	Variables     map[string]any `json:"variables,omitempty"`
	OperationName string         `json:"operationName,omitempty"`

	kind api.OperationKind
	want []asked
}

// asked is a member that an answer has to have. Its value is of type ref, or the
// name of the object's type when that is nil.
type asked struct {
	key string
	ref *api.Ref
	// sub has the members of objects, by the name of their type.
	sub shape
}

type shape map[string][]asked

// enum is a value of an enum, which is written without quotes.
type enum string

func (g *generator) one(n int) bool { return g.random.IntN(n) == 0 }

func pick[T any](g *generator, from []T) T { return from[g.random.IntN(len(from))] }

func (g *generator) name(prefix string) string {
	g.names++
	return prefix + strconv.Itoa(g.names)
}

// document writes one document with an operation of a random kind.
func (g *generator) document() generated {
	g.variables = map[string]any{}
	kind := api.Query
	switch g.random.IntN(10) {
	case 0, 1, 2:
		kind = api.Mutation
	case 3:
		kind = api.Subscription
	}
	fields := 1 + g.random.IntN(3)
	if kind == api.Subscription {
		fields = 1
	}
	operations := slices.DeleteFunc(slices.Clone(g.schema.Operations), func(o *api.Operation) bool { return o.Kind != kind })
	var body strings.Builder
	var want []asked
	for range fields {
		o := pick(g, operations)
		text, a := g.field(&api.Field{Name: o.Name, Type: o.Result}, o.Args, true)
		body.WriteString(text)
		if a != nil {
			want = append(want, *a)
		}
	}
	if kind == api.Query && g.one(4) {
		body.WriteString(" __typename")
		want = append(want, asked{key: "__typename"})
	}
	d := generated{Variables: g.variables, kind: kind, want: want}
	name := ""
	if g.one(3) {
		name = g.name("Op")
	}
	header := strings.ToLower(string(kind)) + " " + name
	if len(g.declared) > 0 {
		header += "(" + strings.Join(g.declared, ", ") + ")"
	}
	d.Query = header + " {" + body.String() + " }" + g.text.String()
	if name != "" && g.one(2) {
		d.OperationName = name
		d.Query += "\nquery Other { __typename }"
	}
	return d
}

// field writes a field with its arguments and selections. The member is nil when a
// directive takes the field out of the answer.
func (g *generator) field(f *api.Field, args []*api.Field, always bool) (text string, a *asked) {
	out := " "
	key := f.Name
	if len(args) > 0 || g.one(5) {
		key = g.name("a")
		out += key + ": "
	}
	out += f.Name
	var given []string
	for _, arg := range args {
		if arg.Type.NonNull || g.one(3) {
			given = append(given, arg.Name+": "+g.argument(arg))
		}
	}
	if len(given) > 0 {
		g.random.Shuffle(len(given), func(i, j int) { given[i], given[j] = given[j], given[i] })
		out += "(" + strings.Join(given, ", ") + ")"
	}
	directive, present := g.directive(always)
	out += directive
	a = &asked{key: key, ref: &f.Type}
	named := f.Type
	for named.List != nil {
		named = *named.List
	}
	if named.Type.Kind == api.Object || named.Type.Kind == api.Union {
		var sub string
		sub, a.sub = g.selection(named.Type, 0)
		out += " {" + sub + " }"
	}
	if !present {
		a = nil
	}
	return out, a
}

// directive writes @skip or @include, rarely.
func (g *generator) directive(always bool) (text string, present bool) {
	if always || !g.one(12) {
		return "", true
	}
	value := g.one(2)
	condition := strconv.FormatBool(value)
	if g.one(2) {
		name := g.name("v")
		g.declared = append(g.declared, "$"+name+": Boolean!")
		g.variables[name] = value
		condition = "$" + name
	}
	if g.one(2) {
		return " @skip(if: " + condition + ")", !value
	}
	return " @include(if: " + condition + ")", value
}

// selection writes the selections of an object or union.
func (g *generator) selection(t *api.Type, depth int) (text string, want shape) {
	want = shape{}
	objects := []*api.Type{t}
	if t.Kind == api.Union {
		objects = t.Members
	}
	for _, o := range objects {
		want[o.Name] = nil
	}
	add := func(of *api.Type, members ...asked) {
		for _, m := range members {
			if !slices.ContainsFunc(want[of.Name], func(have asked) bool { return have.key == m.key }) {
				want[of.Name] = append(want[of.Name], m)
			}
		}
	}
	var out strings.Builder
	typename := func() {
		key := "__typename"
		if g.one(3) {
			key = g.name("t")
			out.WriteString(" " + key + ":")
		}
		out.WriteString(" __typename")
		for _, o := range objects {
			add(o, asked{key: key})
		}
	}
	if t.Kind == api.Union || g.one(6) {
		typename()
	}
	for range 1 + g.random.IntN(4) {
		o := pick(g, objects)
		switch {
		case t.Kind == api.Union || depth < 3 && g.one(5):
			// A fragment, with a condition on the type or none, in place or by name.
			sub, of := g.selection(o, depth+1)
			directive, present := g.directive(false)
			switch {
			case g.one(3):
				name := g.name("F")
				g.text.WriteString("\nfragment " + name + " on " + o.Name + " {" + sub + " }")
				spread := " ..." + name + directive
				out.WriteString(spread)
				if g.one(4) {
					out.WriteString(spread)
				}
			case t.Kind != api.Union && g.one(3):
				out.WriteString(" ..." + directive + " {" + sub + " }")
			default:
				out.WriteString(" ... on " + o.Name + directive + " {" + sub + " }")
			}
			if present {
				add(o, of[o.Name]...)
			}
		default:
			f := pick(g, o.Fields)
			inner := f.Type
			for inner.List != nil {
				inner = *inner.List
			}
			if inner.Type.Kind == api.Object {
				// Two selections of one key would have to be merged.
				f = &api.Field{Name: f.Name, Type: f.Type}
				key := g.name("o")
				sub, members := g.selection(inner.Type, depth)
				directive, present := g.directive(false)
				out.WriteString(" " + key + ": " + f.Name + directive + " {" + sub + " }")
				if present {
					add(o, asked{key, &f.Type, members})
				}
				continue
			}
			text, a := g.field(f, nil, false)
			out.WriteString(text)
			if a != nil {
				add(o, *a)
			}
		}
	}
	return out.String(), want
}

// argument writes the value of an argument, or a variable that has it.
func (g *generator) argument(a *api.Field) string {
	value := g.value(a.Type)
	if !g.one(2) {
		return literal(value)
	}
	name := g.name("v")
	declaration := "$" + name + ": " + a.Type.String()
	switch {
	case a.Type.NonNull:
	case g.one(4):
		declaration += " = " + literal(value)
		if g.one(2) { // the default counts
			g.declared = append(g.declared, declaration)
			return "$" + name
		}
	case g.one(6): // not given, and so null or absent
		g.declared = append(g.declared, declaration)
		return "$" + name
	case value != nil && g.one(4):
		declaration += "!"
	}
	g.declared = append(g.declared, declaration)
	g.variables[name] = value
	return "$" + name
}

// value makes up a value of a type.
func (g *generator) value(r api.Ref) any {
	if !r.NonNull && g.one(12) {
		return nil
	}
	if r.List != nil {
		if g.one(6) {
			return g.value(api.Ref{Type: r.List.Type, List: r.List.List, NonNull: true}) // one for a list of it
		}
		list := []any{}
		for range g.random.IntN(4) {
			list = append(list, g.value(*r.List))
		}
		return list
	}
	switch r.Type.Kind {
	case api.Enum:
		return enum(pick(g, r.Type.Values))
	case api.Input:
		object := map[string]any{}
		for _, f := range r.Type.Fields {
			if f.Type.NonNull || g.one(min(len(r.Type.Fields), 3)) {
				object[f.Name] = g.value(f.Type)
			}
		}
		return object
	}
	number := func(texts ...string) any { return json.Number(pick(g, texts)) }
	switch r.Type.Name {
	case "Boolean":
		return g.one(2)
	case "Int":
		return number("0", "1", "2", "5", "20", "100", "101", "-1", "-2147483648", "2147483647")
	case "Float":
		return number("0", "-0.0", "1", "499", "2.55", "-1", "1e3", "1e308", "-1e308", "5e-324", "0.1", "9007199254740991", "9007199254740993", "-9007199254740993", "123456789012345678901234567890.5")
	case "ID":
		if g.one(5) {
			return number("0", "-1", "22752", "9007199254740993")
		}
	case "AWSDateTime":
		return pick(g, []string{
			"2010-12-01T08:26:00Z", "2010-12-01T09:26:00.123456789+01:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-14:00",
			"2010-12-01", "noon", "", "2010-02-30T00:00:00Z",
		})
	}
	if g.one(2) {
		return pick(g, g.known)
	}
	return pick(g, []string{
		"", "x", "user", "17850", "United Kingdom", "WHITE", " ", "\x00", "a\x00b", "\n\r\t", "\x7f", "%", "_", "'; DROP TABLE rows; --", `"quoted" \ back`,
		"\u202eright to left", "\U0001f600", "\ufeff", "\ufffd", "\uffff", "e\u0301", strings.Repeat("x", 1000), strings.Repeat("\u00fc", 3000), "null", "{}", "[]", "../../etc",
	})
}

// literal writes a value as a document has it.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case enum:
		return string(v)
	case json.Number:
		return v.String()
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, literal(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for name, e := range v {
			parts = append(parts, name+": "+literal(e))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a string or bool encodes
	return strings.TrimSpace(b.String())
}

// member is a member of a JSON object, in its place.
type member struct {
	key   string
	value any // nil, bool, json.Number, string, []any, []member
}

// ordered reads JSON with the members of objects in order, and all of them.
func ordered(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := []member{}
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
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}

// checkMembers compares an object with the members that were asked for.
func checkMembers(path, typeName string, got any, want []asked) error {
	object, ok := got.([]member)
	if !ok {
		return fmt.Errorf("%s: got %.100v, want an object", path, got)
	}
	for i, m := range object {
		if i >= len(want) || want[i].key != m.key {
			return fmt.Errorf("%s: the member %d is %q, want those of %v", path, i, m.key, keysOf(want))
		}
		if want[i].ref == nil {
			if m.value != typeName {
				return fmt.Errorf("%s.%s: got %v, want %q", path, m.key, m.value, typeName)
			}
			continue
		}
		if err := checkValue(path+"."+m.key, m.value, *want[i].ref, want[i].sub); err != nil {
			return err
		}
	}
	if len(object) != len(want) {
		return fmt.Errorf("%s: it has %d members, want %v", path, len(object), keysOf(want))
	}
	return nil
}

func keysOf(want []asked) (keys []string) {
	for _, a := range want {
		keys = append(keys, a.key)
	}
	return keys
}

func checkValue(path string, got any, r api.Ref, sub shape) error {
	if got == nil {
		if r.NonNull {
			return fmt.Errorf("%s: null is no %s", path, r)
		}
		return nil
	}
	if r.List != nil {
		list, ok := got.([]any)
		if !ok {
			return fmt.Errorf("%s: got %.100v, want a list", path, got)
		}
		for i, e := range list {
			if err := checkValue(fmt.Sprintf("%s[%d]", path, i), e, *r.List, sub); err != nil {
				return err
			}
		}
		return nil
	}
	ok := false
	switch r.Type.Kind {
	case api.Object:
		return checkMembers(path, r.Type.Name, got, sub[r.Type.Name])
	case api.Union: // the document asks for the type's name first, under some key
		object, _ := got.([]member)
		if len(object) == 0 {
			return fmt.Errorf("%s: got %.100v, want an object with the name of its type", path, got)
		}
		name, _ := object[0].value.(string)
		members, known := sub[name]
		if !known {
			return fmt.Errorf("%s: got a %q, want one of %s", path, name, r.Type.Name)
		}
		return checkMembers(path, name, got, members)
	case api.Enum:
		s, _ := got.(string)
		ok = slices.Contains(r.Type.Values, s)
	case api.Scalar:
		switch r.Type.Name {
		case "Boolean":
			_, ok = got.(bool)
		case "Float":
			_, ok = got.(json.Number)
		case "Int":
			n, isNumber := got.(json.Number)
			_, err := strconv.ParseInt(n.String(), 10, 32)
			ok = isNumber && err == nil
		case "AWSDateTime":
			s, _ := got.(string)
			_, err := time.Parse(time.RFC3339Nano, s)
			ok = err == nil
		case "AWSJSON":
			s, isText := got.(string)
			ok = isText && json.Valid([]byte(s))
		default:
			_, ok = got.(string)
		}
	}
	if !ok {
		return fmt.Errorf("%s: got %.100v, which is no %s", path, got, r)
	}
	return nil
}

// codes are those that an answer to a valid document may have while nothing is out
// of order.
var codes = []string{
	"UNAUTHENTICATED", "FORBIDDEN", "BAD_USER_INPUT", "PAGE_SIZE", "TOO_LARGE", "WAIT_TIMEOUT",
	"DEPTH_LIMIT", "ALIAS_LIMIT", "COMPLEXITY_LIMIT",
}

// inProcess is the API of a shop that was seeded, without a network.
type inProcess struct {
	api http.Handler
	log *lockedBuffer
	// known are ids, cursors and positions that exist.
	known []string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newInProcess(tb testing.TB) *inProcess {
	tb.Helper()
	seeded, err := seedOnce()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	if err := os.CopyFS(dir, os.DirFS(seeded)); err != nil {
		tb.Fatal(err)
	}
	p := &inProcess{log: &lockedBuffer{}}
	h, err := local.Open(tb.Context(), shop.App(), filepath.Join(dir, "shop.db"), &local.Options{Logger: slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	if err := h.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	handler, err := h.API(tb.Context(), &local.APIOptions{DevUsers: true, Limits: local.Limits{Wait: 20 * time.Millisecond}})
	if err != nil {
		tb.Fatal(err)
	}
	p.api = handler
	for _, query := range []string{
		`{ catalogProducts(first: 5, orderBy: {field: price}) { edges { cursor node { id name } } } orderingOrders(first: 5) { edges { cursor node { id customerId } } }
		   catalogPriceHistories(first: 3) { edges { cursor node { id position } } } platformPlugins { edges { cursor node { id } } }
		   orderingOrderEvents(id: "536365", first: 2) { edges { cursor } } orderingOrderLineItems(id: "536365", first: 2) { edges { cursor node { productId } } } }`,
		`mutation { catalogProductChangePrice(id: "22752", price: 850, commandId: "known") { ... on CommandAccepted { commandId position } } }`,
	} {
		_, body := p.send(tb, admin, generated{Query: query})
		d := json.NewDecoder(bytes.NewReader(body))
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				tb.Fatal(err)
			}
			if s, ok := token.(string); ok {
				p.known = append(p.known, s)
			}
		}
	}
	if len(p.known) < 50 {
		tb.Fatalf("only %d texts are known: %q", len(p.known), p.known)
	}
	return p
}

// send handles a document in this process.
func (p *inProcess) send(tb testing.TB, who string, d generated) (status int, body []byte) {
	tb.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	if err := e.Encode(d); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/graphql", &text)
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "127.0.0.1:1234"
	for name, value := range headers(who) {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	p.api.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

// run sends the document that a seed stands for and checks the answer.
func (p *inProcess) run(t *testing.T, seed uint64) (code string) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	who := []string{nobody, user, admin, admin, admin, admin}[random.IntN(6)]
	g := &generator{random: random, schema: shop.App().API(), known: p.known}
	d := g.document()
	status, body := p.send(t, who, d)
	fail := func(format string, args ...any) {
		t.Helper()
		variables, _ := json.Marshal(d.Variables) // it was sent
		t.Errorf("%s\nas %q: %s\nvariables: %.3000s\noperation: %q\nstatus %d: %.1000s\nlog: %.1000s\nseed: %d",
			fmt.Sprintf(format, args...), who, d.Query, variables, d.OperationName, status, body, p.log.String(), seed)
	}
	if status != http.StatusOK && (status < 400 || status > 499) {
		fail("the status is %d", status)
	}
	var r struct {
		Data   json.RawMessage
		Errors []graphQLError
	}
	if err := json.Unmarshal(body, &r); err != nil {
		fail("the answer is no JSON: %v", err)
		return ""
	}
	for _, e := range r.Errors {
		if code = e.Extensions.Code; !slices.Contains(codes, code) || e.Message == "" {
			fail("the code %q", code)
			return code
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Data))
	decoder.UseNumber()
	data, err := any(nil), error(nil)
	if len(r.Data) > 0 {
		data, err = ordered(decoder)
	}
	switch {
	case err != nil:
		fail("the data is no JSON: %v", err)
	case data == nil && len(r.Errors) == 0:
		fail("neither data nor errors")
	case data == nil:
	default:
		if d.kind == api.Subscription {
			fail("a subscription is answered without a stream")
		} else if err := checkMembers("data", string(d.kind), data, d.want); err != nil {
			fail("%v", err)
		}
	}
	return code
}

// Valid documents are answered: with data of the shape that was asked for, or with
// errors that say what is wrong; never with an internal one.
func FuzzExecutor(f *testing.F) {
	base := rand.Uint64()
	if s := os.Getenv("REVENTLESS_SEED"); s != "" {
		var err error
		if base, err = strconv.ParseUint(s, 10, 64); err != nil {
			f.Fatalf("REVENTLESS_SEED: %v", err)
		}
	}
	f.Logf("REVENTLESS_SEED=%d", base)
	for i := range uint64(400) {
		f.Add(base + i)
	}
	p := newInProcess(f)
	f.Fuzz(func(t *testing.T, seed uint64) { p.run(t, seed) })
}
