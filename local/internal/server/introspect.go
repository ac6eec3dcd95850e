package server

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/introspection"
	"github.com/vektah/gqlparser/v2/ast"
)

// introspect resolves __schema and __type. The values of package introspection have a
// Go method or field for each GraphQL field.
func (e *executor) introspect(op *graphql.OperationContext, f graphql.CollectedField) []byte {
	var value any = introspection.WrapSchema(described(e.schema))
	if f.Name == "__type" {
		name, _ := f.ArgumentMap(op.Variables)["name"].(string)
		t := introspection.WrapTypeFromDef(e.schema, e.schema.Types[name])
		if t == nil {
			return []byte("null")
		}
		value = t
	}
	return introspected(op, nil, reflect.ValueOf(value), f)
}

// described returns schema without the directive defer, which the parser adds to every
// schema. The server accepts but ignores it.
func described(schema *ast.Schema) *ast.Schema {
	out := *schema
	out.Directives = maps.Clone(schema.Directives)
	delete(out.Directives, "defer")
	return &out
}

func introspected(op *graphql.OperationContext, out []byte, v reflect.Value, f graphql.CollectedField) []byte {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return append(out, "null"...)
		}
		if v.Elem().Kind() != reflect.Struct {
			return introspected(op, out, v.Elem(), f)
		}
	case reflect.Slice:
		out = append(out, '[')
		for i := range v.Len() {
			if i > 0 {
				out = append(out, ',')
			}
			out = introspected(op, out, v.Index(i), f)
		}
		return append(out, ']')
	case reflect.Struct:
		p := reflect.New(v.Type()) // its methods need a pointer
		p.Elem().Set(v)
		v = p
	default:
		text, _ := json.Marshal(v.Interface()) // a string or bool, which cannot fail
		return append(out, text...)
	}
	typeName := "__" + v.Elem().Type().Name()
	out = append(out, '{')
	for i, sub := range graphql.CollectFields(op, f.Selections, []string{typeName}) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), sub.Alias...), '"', ':')
		if sub.Name == "__typename" {
			out = append(append(append(out, '"'), typeName...), '"')
			continue
		}
		out = introspected(op, out, member(op, v, sub), sub)
	}
	return append(out, '}')
}

// member returns the value of a GraphQL field of v.
func member(op *graphql.OperationContext, v reflect.Value, f graphql.CollectedField) reflect.Value {
	name := strings.ToUpper(f.Name[:1]) + f.Name[1:]
	m := v.MethodByName("Visible" + name) // if it exists, it respects includeDeprecated
	if !m.IsValid() {
		m = v.MethodByName(name)
	}
	if !m.IsValid() {
		return v.Elem().FieldByName(name)
	}
	var args []reflect.Value
	if m.Type().NumIn() == 1 {
		deprecated, _ := f.ArgumentMap(op.Variables)["includeDeprecated"].(bool)
		args = append(args, reflect.ValueOf(deprecated))
	}
	return m.Call(args)[0]
}
