package api

import (
	"slices"

	"github.com/reventless-go/reventless/internal/authz"
)

// Schema is the GraphQL API of an App.
type Schema struct {
	// App is the application's name.
	App string
	// Operations are the fields of Query, Mutation and Subscription, in the order
	// of declaration.
	Operations []*Operation
	// Types are all other types, sorted by name.
	Types []*Type
}

// Operation returns the operation with a kind and name, or nil.
func (s *Schema) Operation(kind OperationKind, name string) *Operation {
	i := slices.IndexFunc(s.Operations, func(o *Operation) bool { return o.Kind == kind && o.Name == name })
	if i < 0 {
		return nil
	}
	return s.Operations[i]
}

// Type returns the type with a name, or nil.
func (s *Schema) Type(name string) *Type {
	i := slices.IndexFunc(s.Types, func(t *Type) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return s.Types[i]
}

// OperationKind is the root type that an operation belongs to.
type OperationKind string

// The kinds of operations.
const (
	Query        OperationKind = "Query"
	Mutation     OperationKind = "Mutation"
	Subscription OperationKind = "Subscription"
)

// Action is what an operation does.
type Action string

// The actions.
const (
	// SendCommand sends a command to an aggregate.
	SendCommand Action = "SendCommand"
	// GetRow reads one row. ListRows reads pages of all rows, QueryIndex pages of the
	// rows with one index key, QueryItems pages of the rows with one id.
	GetRow     Action = "GetRow"
	ListRows   Action = "ListRows"
	QueryIndex Action = "QueryIndex"
	QueryItems Action = "QueryItems"
	// ListEvents reads pages of the events of an entity.
	ListEvents Action = "ListEvents"
	// GetOutcome reads the outcome of a command, WatchOutcome waits for it.
	GetOutcome   Action = "GetOutcome"
	WatchOutcome Action = "WatchOutcome"
	// WatchRows publishes the changes of the rows of a read model.
	WatchRows Action = "WatchRows"
)

// Operation is a field of a root type.
type Operation struct {
	Kind   OperationKind
	Name   string
	Doc    string
	Args   []*Field
	Result Ref
	// Rule is the access rule.
	Rule authz.Rule
	// Action is what the operation does to the component with the logical name
	// Component.
	Action    Action
	Component string
	// Command and Version are the command type of SendCommand.
	Command string
	Version int
	// Index is the index of QueryIndex. Key and Sort are the names of the arguments
	// with the key and with the condition on the sort field; empty without such an
	// argument.
	Index, Key, Sort string
}

// Arg returns the argument with a name, or nil.
func (o *Operation) Arg(name string) *Field {
	i := slices.IndexFunc(o.Args, func(f *Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return o.Args[i]
}

// TypeKind is the kind of a type.
type TypeKind string

// The kinds of types.
const (
	Scalar TypeKind = "Scalar"
	Object TypeKind = "Object"
	Input  TypeKind = "Input"
	Enum   TypeKind = "Enum"
	Union  TypeKind = "Union"
)

// Type is a named type.
type Type struct {
	Name string
	Kind TypeKind
	Doc  string
	// Fields are the fields of an object or input.
	Fields []*Field
	// Values are the values of an enum.
	Values []string
	// Members are the objects of a union.
	Members []*Type

	goType string // the Go type that it was derived from, for errors
	unions []string
}

// Unions returns the names of the unions that an object is a member of.
func (t *Type) Unions() []string { return t.unions }

// Field returns the field with a name, or nil.
func (t *Type) Field(name string) *Field {
	for _, f := range t.Fields {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Field is a field of an object or input, or an argument.
type Field struct {
	Name string
	Doc  string
	Type Ref
	// JSON is the member of the JSON object that holds the value.
	JSON string
}

// Ref is a use of a type: the type or a list of it, nullable or not.
type Ref struct {
	// Type is the named type; nil in a list.
	Type *Type
	// List is the type of the elements of a list.
	List *Ref
	// NonNull says that null is no value.
	NonNull bool
	// Number limits Int and Float to the range of the Go type.
	Number Number
}

// Number narrows a number.
type Number struct {
	// Bits is the size of the Go integer; 0 is a number with a fraction.
	Bits int
	// Unsigned says that it is not negative.
	Unsigned bool
}

// String returns the reference as GraphQL writes it.
func (r Ref) String() string {
	var s string
	if r.List != nil {
		s = "[" + r.List.String() + "]"
	} else {
		s = r.Type.Name
	}
	if r.NonNull {
		s += "!"
	}
	return s
}

// The scalars.
var (
	idType       = &Type{Name: "ID", Kind: Scalar}
	stringType   = &Type{Name: "String", Kind: Scalar}
	booleanType  = &Type{Name: "Boolean", Kind: Scalar}
	intType      = &Type{Name: "Int", Kind: Scalar}
	floatType    = &Type{Name: "Float", Kind: Scalar}
	dateTimeType = &Type{Name: "AWSDateTime", Kind: Scalar, Doc: "A time of RFC 3339, such as 2026-01-31T12:00:00Z."}
	jsonType     = &Type{Name: "AWSJSON", Kind: Scalar, Doc: "A JSON text in a string."}
)

func nonNull(t *Type) Ref  { return Ref{Type: t, NonNull: true} }
func nullable(t *Type) Ref { return Ref{Type: t} }
func listOf(r Ref) Ref     { return Ref{List: &r, NonNull: true} }

func whole() Ref {
	return Ref{Type: floatType, NonNull: true, Number: Number{Bits: 64, Unsigned: true}}
}

// Derived is the part of a reventless.App that its documentation does not show.
type Derived struct{ schema *Schema }

// Wrap wraps a schema.
func Wrap(s *Schema) Derived { return Derived{s} }

// API returns the schema.
func (d Derived) API() *Schema { return d.schema }
