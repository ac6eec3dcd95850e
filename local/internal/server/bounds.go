package server

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/reventless-go/reventless/internal/resolver"
)

// The codes of what the server itself refuses.
const (
	BodySize          resolver.Code = "BODY_SIZE"
	DepthLimit        resolver.Code = "DEPTH_LIMIT"
	AliasLimit        resolver.Code = "ALIAS_LIMIT"
	ComplexityLimit   resolver.Code = "COMPLEXITY_LIMIT"
	SubscriptionLimit resolver.Code = "SUBSCRIPTION_LIMIT"
)

// bounds refuses documents that would cost too much, before anything is run.
type bounds struct {
	maxDepth, maxAliases, maxComplexity, defaultPage int
}

var _ interface {
	graphql.OperationContextMutator
	graphql.HandlerExtension
} = bounds{}

// ExtensionName implements [graphql.HandlerExtension].
func (bounds) ExtensionName() string { return "Bounds" }

// Validate implements [graphql.HandlerExtension].
func (bounds) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext implements [graphql.OperationContextMutator].
func (b bounds) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	op.DisableIntrospection = false
	m := measure{variables: op.Variables, fragments: map[*ast.FragmentDefinition]cost{}, defaultPage: b.defaultPage}
	c := m.set(op.Operation.SelectionSet)
	refuse := func(code resolver.Code, what string, is, limit int) *gqlerror.Error {
		return &gqlerror.Error{
			Message:    fmt.Sprintf("the operation has %s of %d, the limit is %d", what, is, limit),
			Extensions: map[string]any{"code": string(code)},
		}
	}
	switch {
	case c.depth > b.maxDepth:
		return refuse(DepthLimit, "a depth", c.depth, b.maxDepth)
	case c.aliases > b.maxAliases:
		return refuse(AliasLimit, "a number of aliases", c.aliases, b.maxAliases)
	case c.fields > b.maxComplexity:
		return refuse(ComplexityLimit, "a complexity", c.fields, b.maxComplexity)
	}
	return nil
}

// cost is what a part of a document comes to: how deep it is nested, how many
// aliases it has, and how many fields its answer may have. Sums stop at the
// greatest int: fragments that spread one another grow without end.
type cost struct{ depth, aliases, fields int }

// introspectionCost is what a field of introspection counts for.
const introspectionCost = 200

// measure computes costs; each fragment once, whatever it is spread in.
type measure struct {
	variables   map[string]any
	fragments   map[*ast.FragmentDefinition]cost
	defaultPage int
}

func (m *measure) set(set ast.SelectionSet) cost {
	var sum cost
	for _, s := range set {
		var c cost
		switch s := s.(type) {
		case *ast.Field:
			c = m.field(s)
		case *ast.InlineFragment:
			c = m.set(s.SelectionSet)
		case *ast.FragmentSpread:
			if s.Definition == nil {
				continue
			}
			var known bool
			if c, known = m.fragments[s.Definition]; !known {
				c = m.set(s.Definition.SelectionSet) // there are no cycles: the document is valid
				m.fragments[s.Definition] = c
			}
		}
		sum.depth = max(sum.depth, c.depth)
		sum.aliases = add(sum.aliases, c.aliases)
		sum.fields = add(sum.fields, c.fields)
	}
	return sum
}

func (m *measure) field(f *ast.Field) cost {
	c := m.set(f.SelectionSet)
	if strings.HasPrefix(f.Name, "__") {
		// Introspection is bounded by the schema, and by the rule that its lists do
		// not nest; it is deeper than other documents.
		fields := introspectionCost
		if f.Name == "__typename" {
			fields = 1
		}
		return cost{depth: 1, aliases: c.aliases, fields: fields}
	}
	c.depth++
	if f.Alias != f.Name {
		c.aliases = add(c.aliases, 1)
	}
	c.fields = add(multiply(c.fields, m.size(f)), 1)
	return c
}

// size is how many nodes a connection may have; 1 for any other field.
func (m *measure) size(f *ast.Field) int {
	if f.Definition == nil || f.Definition.Arguments.ForName("first") == nil {
		return 1
	}
	size := m.defaultPage
	for _, name := range []string{"first", "last"} {
		if a := f.Arguments.ForName(name); a != nil {
			if v, err := a.Value.Value(m.variables); err == nil {
				if n, ok := wholeNumber(v); ok {
					size = n
				}
			}
		}
	}
	return max(size, 1)
}

func wholeNumber(v any) (int, bool) {
	switch n := v.(type) {
	case int64:
		return int(n), true
	case int:
		return n, true
	case interface{ Int64() (int64, error) }:
		i, err := n.Int64()
		return int(i), err == nil
	case float64:
		return int(n), true
	}
	return 0, false
}

func add(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

func multiply(a, b int) int {
	if a != 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}
