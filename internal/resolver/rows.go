package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/rows"
)

// owns reports whether one of the fields of a row has the user's id.
func owns(data json.RawMessage, fields []string, user string) bool {
	members, err := rows.Fields(data)
	if err != nil {
		return false
	}
	for _, f := range fields {
		var have string
		if raw := members[f]; len(raw) > 0 && json.Unmarshal(raw, &have) == nil && have == user && user != "" {
			return true
		}
	}
	return false
}

// withID appends a row's data with its id in front.
func withID(to []byte, id string, data json.RawMessage) []byte {
	text, _ := json.Marshal(id) // a string marshals
	to = append(append(to, `{"id":`...), text...)
	start := slices.Index(data, '{') + 1
	if start <= 0 {
		return append(to, '}')
	}
	rest := data[start:]
	for len(rest) > 0 && rest[0] <= ' ' {
		rest = rest[1:]
	}
	if len(rest) > 0 && rest[0] != '}' {
		to = append(to, ',')
	}
	return append(to, rest...)
}

func (r *Resolver) row(ctx context.Context, c *Call, owner []string) (json.RawMessage, error) {
	db, ok := r.host.QueryDb(c.Operation.Component)
	if !ok {
		return nil, fail(Internal, "no read model %s", c.Operation.Component)
	}
	key := driver.Key{ID: c.id("id")}
	if err := driver.CheckID("row", key.ID); err != nil {
		return nil, err
	}
	if c.Operation.Sort != "" {
		key.Sub = c.text(c.Operation.Sort)
	}
	row, err := db.LoadRow(ctx, key)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, stored(err)
	case owner != nil && !owns(row.Data, owner, c.Who.User):
		return nil, nil // for this caller the row does not exist
	}
	return withID(nil, key.ID, row.Data), nil
}

// stored makes ErrInvalid of a store an internal error: the arguments were checked
// before, so the error is about stored data.
func stored(err error) error {
	var own *Error
	if errors.Is(err, driver.ErrInvalid) && !errors.As(err, &own) {
		return &Error{Internal, "internal error", err}
	}
	return err
}

// window is the requested part of an ordered list.
type window struct {
	size      int
	cursor    string
	backwards bool
}

// window reads the arguments of a connection.
func (r *Resolver) window(c *Call) (window, error) {
	name := c.Operation.Name
	first, forwards, err := count(c, "first")
	if err != nil {
		return window{}, err
	}
	last, backwards, err := count(c, "last")
	if err != nil {
		return window{}, err
	}
	after, before := c.text("after"), c.text("before")
	w := window{size: first, cursor: after}
	switch {
	case forwards && backwards:
		return w, fail(BadInput, "%s: first and last cannot be combined", name)
	case after != "" && (backwards || before != ""):
		return w, fail(BadInput, "%s: after can only be combined with first", name)
	case before != "" && forwards:
		return w, fail(BadInput, "%s: before can only be combined with last", name)
	case backwards || before != "":
		w = window{size: last, cursor: before, backwards: true}
	}
	if !forwards && !backwards {
		w.size = r.opts.DefaultPage
	}
	if w.size > r.opts.MaxPage {
		return w, fail(PageSize, "%s: a page of %d rows exceeds the limit of %d", name, w.size, r.opts.MaxPage)
	}
	return w, nil
}

func count(c *Call, arg string) (n int, given bool, err error) {
	v := c.Args[arg]
	if v == nil {
		return 0, false, nil
	}
	switch v := v.(type) {
	case int64:
		n = int(v)
	case int:
		n = v
	case float64:
		n = int(v)
	case json.Number:
		i, err := strconv.Atoi(v.String())
		if err != nil {
			i = -1
		}
		n = i
	default:
		n = -1
	}
	if n < 0 {
		return 0, true, fail(BadInput, "%s: %s is %v, which is not a number of rows", c.Operation.Name, arg, v)
	}
	return n, true, nil
}

// page returns a connection.
func (r *Resolver) page(ctx context.Context, c *Call, owner []string) (json.RawMessage, error) {
	w, err := r.window(c)
	if err != nil {
		return nil, err
	}
	filters, err := r.filters(c)
	if err != nil {
		return nil, err
	}
	for _, field := range owner {
		// A filter of the store's query, so that every page but the last is full.
		filters = append(filters, driver.Filter{Field: field, Comparator: driver.Equal, Values: []any{c.Who.User}})
	}
	page, err := r.read(ctx, c, w, filters)
	if errors.Is(err, driver.ErrInvalid) && w.cursor != "" {
		return nil, &Error{BadInput, c.Operation.Name + ": the cursor does not belong to this query", err}
	}
	if err != nil {
		return nil, stored(err)
	}
	more := len(page.Rows) > w.size
	if more {
		page.Rows = page.Rows[:w.size]
	}
	return connection(page, w, more, func(row driver.Row, to []byte) []byte { return withID(to, row.ID, row.Data) }), nil
}

// read reads one row more than the page has, to see whether there is another page.
func (r *Resolver) read(ctx context.Context, c *Call, w window, filters []driver.Filter) (driver.Page, error) {
	o := c.Operation
	engine := r.host.QueryEngine()
	if o.Action == api.ListRows {
		s := driver.Scan{ReadModel: o.Component, Filters: filters, Limit: w.size + 1, Cursor: w.cursor}
		if order, ok := c.Args["orderBy"].(map[string]any); ok {
			name, _ := order["field"].(string)
			s.Order = &driver.Order{Field: r.orderField(o, name), Descending: (order["direction"] == "DESC") != w.backwards}
		} else if w.backwards {
			return driver.Page{}, fail(BadInput, "%s: last and before require orderBy", o.Name)
		}
		return engine.Scan(ctx, s)
	}
	q := driver.Query{
		ReadModel: o.Component, Index: o.Index, Filters: filters, Limit: w.size + 1, Cursor: w.cursor,
		Descending: (c.Args["direction"] == "DESC") != w.backwards,
	}
	if o.Action == api.QueryItems {
		q.Value = c.id("id")
	} else {
		key := o.Arg(o.Key)
		values, err := filterValues(o.Key, key.Type, c.Args[o.Key])
		if err != nil {
			return driver.Page{}, fail(BadInput, "%s: %v", o.Name, err)
		}
		q.Value = values[0]
	}
	if condition, ok := c.Args[o.Sort].(map[string]any); ok && o.Sort != "" {
		conditions, err := conditionsOf(o.Sort, o.Arg(o.Sort).Type.Type, condition)
		if err != nil {
			return driver.Page{}, fail(BadInput, "%s: %v", o.Name, err)
		}
		if len(conditions) != 1 {
			return driver.Page{}, fail(BadInput, "%s: %s takes exactly one condition, not %d", o.Name, o.Sort, len(conditions))
		}
		q.Sort = &conditions[0]
	}
	return engine.Query(ctx, q)
}

// orderField returns the JSON name of a field of the row; it is empty for the row's id.
func (r *Resolver) orderField(o *api.Operation, name string) string {
	if name == "id" {
		return ""
	}
	row := o.Result.Type.Field("edges").Type.List.Type.Field("node").Type.Type
	return row.Field(name).JSON
}

func (r *Resolver) filters(c *Call) ([]driver.Filter, error) {
	given, ok := c.Args["filter"].(map[string]any)
	if !ok {
		return nil, nil
	}
	var out []driver.Filter
	arg := c.Operation.Arg("filter")
	for _, f := range arg.Type.Type.Fields {
		conditions, ok := given[f.Name].(map[string]any)
		if !ok {
			continue
		}
		list, err := conditionsOf("filter."+f.Name, f.Type.Type, conditions)
		if err != nil {
			return nil, fail(BadInput, "%s: %v", c.Operation.Name, err)
		}
		for _, x := range list {
			x.Field = f.JSON
			out = append(out, x)
		}
	}
	return out, nil
}

// conditionsOf returns the conditions of a filter or range input, in the order of
// its fields.
func conditionsOf(path string, t *api.Type, given map[string]any) ([]driver.Filter, error) {
	var out []driver.Filter
	for _, f := range t.Fields {
		v, ok := given[f.Name]
		if !ok || v == nil {
			continue
		}
		x := driver.Filter{Field: path, Comparator: driver.Comparator(f.Name)}
		if f.Name == "exists" {
			if v == false {
				x.Comparator = driver.NotExists
			}
			out = append(out, x)
			continue
		}
		values, err := filterValues(path+"."+f.Name, f.Type, v)
		if err != nil {
			return nil, err
		}
		if f.Name == "between" && len(values) != 2 {
			return nil, fmt.Errorf("%s.between takes two values, not %d", path, len(values))
		}
		x.Values = values
		out = append(out, x)
	}
	return out, nil
}

// filterValues returns values as the drivers compare them. Times are compared as text:
// RFC 3339 in UTC.
func filterValues(path string, r api.Ref, v any) ([]any, error) {
	if r.List != nil {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		var out []any
		for _, e := range list {
			values, err := filterValues(path, *r.List, e)
			if err != nil {
				return nil, err
			}
			out = append(out, values...)
		}
		return out, nil
	}
	switch r.Type.Name {
	case "Float", "Int":
		switch n := v.(type) {
		case int64:
			return []any{float64(n)}, nil
		case int:
			return []any{float64(n)}, nil
		case float64:
			return []any{n}, nil
		case json.Number:
			f, err := n.Float64()
			if err != nil {
				return nil, fmt.Errorf("%s: %v is not a number", path, n)
			}
			return []any{f}, nil
		}
	case "Boolean":
		if b, ok := v.(bool); ok {
			return []any{b}, nil
		}
	case "AWSDateTime":
		if s, ok := v.(string); ok {
			t, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				return nil, fmt.Errorf("%s: %.40q is not a time of RFC 3339 such as 2026-01-31T12:00:00Z", path, s)
			}
			return []any{t.UTC().Format(time.RFC3339Nano)}, nil
		}
	default:
		if s, ok := v.(string); ok {
			return []any{s}, nil
		}
	}
	return nil, fmt.Errorf("%s: the value is not of type %s", path, strings.TrimSuffix(r.String(), "!"))
}

// connection encodes a page as a connection. Rows that were read backwards are reversed:
// a page always has the order of its list.
func connection(page driver.Page, w window, more bool, node func(driver.Row, []byte) []byte) json.RawMessage {
	cursors := page.Cursors
	if len(cursors) > len(page.Rows) {
		cursors = cursors[:len(page.Rows)]
	}
	if w.backwards {
		slices.Reverse(page.Rows)
		slices.Reverse(cursors)
	}
	out := []byte(`{"edges":[`)
	for i, row := range page.Rows {
		out = edge(out, i, cursors[i])
		out = append(node(row, out), '}')
	}
	next, previous := more, w.cursor != ""
	if w.backwards {
		next, previous = w.cursor != "", more
	}
	return pageInfo(out, next, previous, cursors)
}

func edge(out []byte, i int, cursor string) []byte {
	if i > 0 {
		out = append(out, ',')
	}
	out = append(out, `{"cursor":`...)
	text, _ := json.Marshal(cursor) // a string marshals
	return append(append(out, text...), `,"node":`...)
}

func pageInfo(out []byte, next, previous bool, cursors []string) json.RawMessage {
	info := struct {
		HasNextPage     bool    `json:"hasNextPage"`
		HasPreviousPage bool    `json:"hasPreviousPage"`
		StartCursor     *string `json:"startCursor"`
		EndCursor       *string `json:"endCursor"`
	}{HasNextPage: next, HasPreviousPage: previous}
	if len(cursors) > 0 {
		info.StartCursor, info.EndCursor = &cursors[0], &cursors[len(cursors)-1]
	}
	text, _ := json.Marshal(info) // strings and bools marshal
	return append(append(append(out, `],"pageInfo":`...), text...), '}')
}
