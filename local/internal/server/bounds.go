package server

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"

	"github.com/reventless-go/reventless/internal/resolver"
)

// The codes of errors that the server itself returns.
const (
	BodySize          resolver.Code = "BODY_SIZE"
	DepthLimit        resolver.Code = "DEPTH_LIMIT"
	AliasLimit        resolver.Code = "ALIAS_LIMIT"
	ComplexityLimit   resolver.Code = "COMPLEXITY_LIMIT"
	SubscriptionLimit resolver.Code = "SUBSCRIPTION_LIMIT"
	OperationLimit    resolver.Code = "OPERATION_LIMIT"
)

// Errors with these codes occur before anything runs. Clients get them like an invalid
// document: with a status of 4xx, or as a message of type error.
func init() {
	for _, c := range []resolver.Code{resolver.BadInput, DepthLimit, AliasLimit, ComplexityLimit} {
		errcode.RegisterErrorType(string(c), errcode.KindProtocol)
	}
}

// bounds refuses documents that are too expensive before anything runs.
type bounds struct {
	maxDepth, maxAliases, maxComplexity, defaultPage int
}

var _ interface {
	graphql.OperationParameterMutator
	graphql.OperationContextMutator
	graphql.HandlerExtension
} = bounds{}

// ExtensionName implements [graphql.HandlerExtension].
func (bounds) ExtensionName() string { return "Bounds" }

// Validate implements [graphql.HandlerExtension].
func (bounds) Validate(graphql.ExecutableSchema) error { return nil }

// maxRepetition bounds the sum, over all names in a document, of the squares of their
// numbers of occurrences, because the validator compares each pair of fields with the
// same name. A name that occurs a thousand times takes about 0.1 s.
const maxRepetition = 1 << 20

// MutateOperationParameters implements [graphql.OperationParameterMutator].
func (bounds) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
	if len(params.Query) <= 2<<10 {
		return nil // too short to exceed the bound
	}
	names, sum := map[string]int{}, 0
	for l := lexer.New(&ast.Source{Input: params.Query}); ; {
		token, err := l.ReadToken()
		if err != nil || token.Kind == lexer.EOF {
			return nil // the parser reports the error
		}
		if token.Kind != lexer.Name {
			continue
		}
		n := names[token.Value]
		names[token.Value] = n + 1
		if sum += 2*n + 1; sum > maxRepetition {
			return &gqlerror.Error{
				Message:    fmt.Sprintf("the document repeats names too often, such as %.40s", token.Value),
				Extensions: map[string]any{"code": string(ComplexityLimit)},
			}
		}
	}
}

// MutateOperationContext implements [graphql.OperationContextMutator].
func (b bounds) MutateOperationContext(ctx context.Context, op *graphql.OperationContext) *gqlerror.Error {
	op.DisableIntrospection = false
	if requestOf(ctx).get && op.Operation.Operation != ast.Query {
		return &gqlerror.Error{Message: "GET supports only queries; use POST", Extensions: map[string]any{"code": string(resolver.BadInput)}}
	}
	m := measure{variables: op.Variables, fragments: map[*ast.FragmentDefinition]cost{}, defaultPage: b.defaultPage}
	c := m.set(op.Operation.SelectionSet)
	refuse := func(code resolver.Code, measure string, value, limit int) *gqlerror.Error {
		return &gqlerror.Error{
			Message:    fmt.Sprintf("the operation has %s of %d, the limit is %d", measure, value, limit),
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

// cost is the cost of a part of a document: its nesting depth, its number of aliases,
// and the maximum number of fields in its response. Sums saturate at the maximum int,
// because nested fragments can make them exponentially large.
type cost struct{ depth, aliases, fields int }

// introspectionCost is the number of fields that an introspection field counts for.
const introspectionCost = 200

// measure computes costs. It visits each fragment once, even if it is spread often.
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
				c = m.set(s.Definition.SelectionSet) // a valid document has no cycles
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
	if f.Alias != f.Name {
		c.aliases = add(c.aliases, 1)
	}
	if strings.HasPrefix(f.Name, "__") {
		// The size of introspection is bounded by the schema and by the rule that its
		// lists do not nest. Its depth does not count: it exceeds that of other documents.
		fields := introspectionCost
		if f.Name == "__typename" {
			fields = 1
		}
		return cost{depth: 1, aliases: c.aliases, fields: fields}
	}
	c.depth++
	c.fields = add(multiply(c.fields, m.size(f)), 1)
	return c
}

// size returns the maximum number of nodes of a connection; 1 for any other field.
func (m *measure) size(f *ast.Field) int {
	if f.Definition == nil || f.Definition.Arguments.ForName("first") == nil {
		return 1
	}
	size, given := m.defaultPage, false
	for _, name := range []string{"first", "last"} {
		if a := f.Arguments.ForName(name); a != nil {
			if v, err := a.Value.Value(m.variables); err == nil {
				if n, ok := wholeNumber(v); ok {
					if !given || n > size {
						size, given = n, true
					}
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
