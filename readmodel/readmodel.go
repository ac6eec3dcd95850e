package readmodel

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/jsonfield"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
)

// Spec declares a read model of rows R.
type Spec[R any] struct {
	// Name is a capital letter followed by letters and digits; by convention, a
	// plural.
	Name string
	// Doc is a sentence for readers of the API and the topology.
	Doc string
	// Singular is the name of one row in the API. Empty derives it from Name by the
	// rules of English: "Category" from "Categories".
	Singular string
	// Projections fill the read model, one for each source.
	Projections Projections[R]
	// SubID is the JSON name of the string field that distinguishes the rows of one
	// id; empty if an id has one row at most.
	SubID string
	// Indexes are the queries other than by id.
	Indexes []Index
	// Expires, if not nil, returns when a row expires, with a precision of one second;
	// the zero time means never. Readers do not get expired rows. For a projection, a
	// row has expired if the commit was recorded at that time or later, whenever it is
	// projected. An [Update] of a row that is missing or has expired does nothing.
	Expires func(R) time.Time
	// OwnRow declares that an event changes only the row whose id is its entity id. On
	// DynamoDB, the commits of an entity are then applied by a single write. An event
	// with any other change fails. It cannot be combined with SubID.
	OwnRow bool
	// Version is raised when a projection is corrected, so that the rows are rebuilt. A
	// changed R, SubID or OwnRow does that by itself.
	Version int
	// Access says who may read which rows through the API. A read model without a
	// rule requires an authenticated caller.
	Access access.Rule
}

// Index is a secondary index over fields of the row, given by their JSON names. It has
// the rows in which Key and Sort are neither absent, null nor empty.
type Index struct {
	// Name is unique in the read model.
	Name string
	// Key is the field that a query selects by: a string or a number.
	Key string
	// Sort is the field that orders the rows of one key; empty orders by id. Times are
	// ordered as text: store them in UTC and in whole seconds.
	Sort string
	// Include lists the fields that a query of the index returns; nil means all.
	Include []string
}

// Projection is a projection of the events of one source. [On] makes it.
type Projection[R any] struct {
	source  *component.Definition
	project func(component.Event) (Changes[R], error)
}

// Projections are the projections of a read model, one for each source.
type Projections[R any] = []Projection[R]

// On projects the events of source. project is pure: it is called again after a
// failure, and by a rebuild.
func On[E message.Typed, R any](source message.Source[E], project func(message.Event[E]) Changes[R]) Projection[R] {
	set := source.EventSet()
	return Projection[R]{source.Definition(), func(e component.Event) (Changes[R], error) {
		event, err := typed.Event(set, e)
		if err != nil {
			return nil, err
		}
		return project(event), nil
	}}
}

// ReadModel is a declared read model.
type ReadModel[R any] struct {
	declared

	spec    Spec[R]
	subIDOf func(*R) (string, error) // nil without a SubID
}

type declared = component.Declared

// New declares a read model. It panics, naming the read model, when the Spec is
// incomplete, or when it refers to a field that R does not have or that has the wrong
// type.
func New[R any](spec Spec[R]) *ReadModel[R] {
	component.CheckName(component.KindReadModel, spec.Name)
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("read model %s: ", spec.Name) + fmt.Sprintf(format, args...))
	}
	if spec.Singular != "" {
		if err := component.ValidName(spec.Singular); err != nil {
			fail("singular %q: %v", spec.Singular, err)
		}
	}
	row := reflect.TypeFor[R]()
	if row.Kind() != reflect.Struct {
		fail("a row is a struct, not a %v", row)
	}
	fields := map[string]reflect.Type{}
	for _, f := range jsonfield.Of(row) {
		fields[f.Name] = f.Type
	}
	if len(spec.Projections) == 0 {
		fail("it has no projection")
	}
	m := &ReadModel[R]{spec: spec}
	if spec.SubID != "" {
		m.subIDOf = subIDOf[R](spec.SubID)
	}
	sources := map[*component.Definition]bool{}
	projections := make([]component.Projection, len(spec.Projections))
	for i, p := range spec.Projections {
		if p.project == nil {
			fail("projection %d is empty; use On", i+1)
		}
		if sources[p.source] {
			fail("two projections of %s", p.source.Name)
		}
		sources[p.source] = true
		projections[i] = component.Projection{Source: p.source, Project: func(e component.Event) ([]component.Change, error) {
			changes, err := p.project(e)
			if err != nil {
				return nil, err
			}
			out := make([]component.Change, len(changes))
			for j, c := range changes {
				if c.editRow == nil && c.editRows == nil {
					return nil, fmt.Errorf("change %d is empty", j+1)
				}
				// A missing row may have expired, which is no failure.
				c.lenient = c.lenient || m.spec.Expires != nil
				if out[j], err = c.erase(m.subIDOf); err != nil {
					return nil, fmt.Errorf("change %d, of %q: %w", j+1, c.id, err)
				}
			}
			return out, nil
		}}
	}
	if spec.SubID != "" {
		if t, ok := fields[spec.SubID]; !ok || t.Kind() != reflect.String {
			fail("the sub id %q is not a string field of %v", spec.SubID, row)
		}
	}
	indexes, names := make([]driver.Index, len(spec.Indexes)), map[string]bool{}
	for i, x := range spec.Indexes {
		if err := component.ValidName(strings.ToUpper(x.Name[:min(1, len(x.Name))]) + x.Name[min(1, len(x.Name)):]); err != nil {
			fail("index %q: %v", x.Name, err)
		}
		if names[x.Name] {
			fail("two indexes are named %s", x.Name)
		}
		names[x.Name] = true
		field := func(what, name string) driver.Field {
			t, ok := fields[name]
			if !ok {
				fail("index %s: %s %q is not a field of %v", x.Name, what, name, row)
			}
			number, ok := scalar(t)
			if !ok {
				fail("index %s: %s %q is a %v, not a string or number", x.Name, what, name, t)
			}
			return driver.Field{Name: name, Number: number}
		}
		indexes[i] = driver.Index{Name: x.Name, Key: field("key", x.Key), Include: x.Include}
		if x.Sort != "" {
			sort := field("sort", x.Sort)
			indexes[i].Sort = &sort
		}
		for _, name := range x.Include {
			if _, ok := fields[name]; !ok {
				fail("index %s: included %q is not a field of %v", x.Name, name, row)
			}
		}
	}
	if spec.OwnRow && spec.SubID != "" {
		fail("OwnRow and SubID exclude each other")
	}
	if len(spec.Access.Commands()) > 0 {
		fail("its access rule is narrowed to commands; For applies to aggregates only")
	}
	if spec.Access.IsZero() {
		spec.Access = access.Authenticated
	}
	if len(spec.Access.Owners()) > 1 {
		fail("access: a row has one owner, not %d", len(spec.Access.Owners()))
	}
	for _, owner := range spec.Access.Owners() {
		if t, ok := fields[owner]; !ok || t.Kind() != reflect.String {
			fail("access: the owner %q is not a string field of %v", owner, row)
		}
	}
	var expiresAt func(any) time.Time
	if spec.Expires != nil {
		expiresAt = func(row any) time.Time { return m.expiresAt(row.(*R)) }
	}
	m.declared = component.Declare(&component.Definition{
		Kind: component.KindReadModel, Name: spec.Name, Doc: spec.Doc,
		ReadModel: &component.ReadModel{
			Row: row, Version: fmt.Sprintf("%d/%s/%s/%t", spec.Version, component.Shape(row), spec.SubID, spec.OwnRow), Singular: spec.Singular, SubID: spec.SubID, Indexes: indexes, OwnRow: spec.OwnRow, Access: spec.Access.Erased(), Projections: projections,
			Decode: func(data json.RawMessage) (any, error) {
				r := new(R)
				return r, json.Unmarshal(data, r)
			},
			Encode: m.encode, ExpiresAt: expiresAt,
			SubIDOf: func(row any) (string, error) { return m.subIDOf(row.(*R)) },
		},
	})
	return m
}

// Spec returns the declaration.
func (m *ReadModel[R]) Spec() Spec[R] { return m.spec }

func (m *ReadModel[R]) encode(row any) (driver.Row, error) {
	r := row.(*R)
	data, err := json.Marshal(r)
	if err != nil {
		return driver.Row{}, err
	}
	out := driver.Row{Data: data}
	if m.subIDOf != nil {
		if out.Sub, err = m.subIDOf(r); err != nil {
			return driver.Row{}, err
		}
	}
	out.ExpiresAt = m.expiresAt(r)
	return out, nil
}

func (m *ReadModel[R]) expiresAt(r *R) time.Time {
	if m.spec.Expires == nil {
		return time.Time{}
	}
	if at := m.spec.Expires(*r); !at.IsZero() {
		return at.UTC().Truncate(time.Second)
	}
	return time.Time{}
}

var timeType = reflect.TypeFor[time.Time]()

// scalar reports whether t is encoded as a JSON number, and whether it can be an index
// field at all. A time is encoded as RFC 3339 text.
func scalar(t reflect.Type) (number, ok bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == timeType {
		return false, true
	}
	switch t.Kind() {
	case reflect.String:
		return false, true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return true, true
	}
	return false, false
}
