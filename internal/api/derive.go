package api

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/jsonfield"
)

// New derives the schema of an App. The error joins everything that cannot be
// expressed in GraphQL and all names that collide, with their components and Go fields.
func New(app *component.App) (*Schema, error) {
	b := &builder{schema: &Schema{App: app.Name}, structs: map[structKey]*Type{}, types: map[string]*Type{}, operations: map[string]string{}}
	b.common()
	for _, p := range app.Plugins {
		for _, d := range p.Components {
			b.component = p.Name + "." + d.Name
			switch {
			case d.Aggregate != nil:
				b.commands(p.Name, d)
				b.history(p.Name, d)
			case d.Counter != nil:
				b.history(p.Name, d)
			case d.ReadModel != nil && !d.ReadModel.Access.IsInternal():
				b.readModel(p.Name, d)
			}
		}
	}
	b.schema.Types = slices.SortedFunc(maps.Values(b.types), func(x, y *Type) int { return strings.Compare(x.Name, y.Name) })
	b.prune()
	return b.schema, errors.Join(b.errs...)
}

// builder collects a schema.
type builder struct {
	schema     *Schema
	types      map[string]*Type
	structs    map[structKey]*Type
	operations map[string]string // the component by kind and name
	component  string            // that is being derived
	errs       []error
}

func (b *builder) fail(err error) {
	if err != nil {
		b.errs = append(b.errs, fmt.Errorf("api of %s: %w", b.component, err))
	}
}

// add adds a type.
func (b *builder) add(t *Type, where string) error {
	other := b.types[t.Name]
	scalar := slices.ContainsFunc([]*Type{idType, stringType, booleanType, intType, floatType, dateTimeType, jsonType}, func(s *Type) bool { return s.Name == t.Name })
	switch {
	case scalar || slices.Contains([]string{"Query", "Mutation", "Subscription"}, t.Name):
		return fmt.Errorf("%s: the type name %s is reserved by GraphQL", where, t.Name)
	case other != nil && other != t && (other.goType != "" && t.goType != ""):
		return fmt.Errorf("%s: %s and %s both become the type %s", where, t.goType, other.goType, t.Name)
	case other != nil && other != t:
		return fmt.Errorf("%s: the API has two types named %s", where, t.Name)
	}
	b.types[t.Name] = t
	for _, m := range t.Members {
		m.unions = append(m.unions, t.Name)
	}
	return nil
}

func (b *builder) operation(o *Operation) {
	if err := checkName(o.Name); err != nil {
		b.fail(err)
		return
	}
	key := string(o.Kind) + " " + o.Name
	if other, taken := b.operations[key]; taken {
		b.fail(fmt.Errorf("the %s %s already exists, of %s", strings.ToLower(string(o.Kind)), o.Name, other))
		return
	}
	b.operations[key] = b.component
	seen := map[string]bool{}
	for _, a := range o.Args {
		if seen[a.Name] {
			b.fail(fmt.Errorf("%s: two arguments are named %s", o.Name, a.Name))
		}
		seen[a.Name] = true
	}
	b.schema.Operations = append(b.schema.Operations, o)
}

// common adds the types and operations of every schema.
func (b *builder) common() {
	add := func(t *Type) *Type {
		b.fail(b.add(t, "api"))
		return t
	}
	field := func(name string, r Ref, doc string) *Field {
		return &Field{Name: name, Type: r, Doc: doc, JSON: name}
	}
	accepted := add(&Type{Name: "CommandAccepted", Kind: Object, Doc: "The command has taken effect, now or when the same commandId was sent before.", Fields: []*Field{
		field("commandId", nonNull(idType), ""),
		field("entityId", nonNull(idType), ""),
		field("sequenceNr", whole(), "The sequence number of the command's commit."),
		field("eventCount", Ref{Type: intType, NonNull: true, Number: Number{Bits: 32}}, "The number of events that the command led to; 0 if there was nothing to change."),
		field("position", nonNull(stringType), "Pass it to waitFor of a query that must show the effect of this command."),
	}})
	rejected := add(&Type{Name: "CommandRejected", Kind: Object, Doc: "The command was rejected and has no effect.", Fields: []*Field{
		field("commandId", nonNull(idType), ""),
		field("code", nonNull(stringType), "The stable name of the rejection."),
		field("message", nonNull(stringType), ""),
		field("detail", nullable(jsonType), ""),
	}})
	pending := add(&Type{Name: "CommandPending", Kind: Object, Doc: "The command is queued; commandOutcome reports its outcome.", Fields: []*Field{
		field("commandId", nonNull(idType), ""),
		field("target", nonNull(stringType), "Pass it to commandOutcome, with commandId."),
	}})
	failed := add(&Type{Name: "CommandFailed", Kind: Object, Doc: "The command could not be handled and has no effect yet. An operator may still redrive it, and it may be sent again.", Fields: []*Field{
		field("commandId", nonNull(idType), ""),
	}})
	result := add(&Type{Name: "CommandResult", Kind: Union, Members: []*Type{accepted, rejected, pending, failed}})
	add(&Type{Name: "PageInfo", Kind: Object, Fields: []*Field{
		field("hasNextPage", nonNull(booleanType), ""), field("hasPreviousPage", nonNull(booleanType), ""),
		field("startCursor", nullable(stringType), ""), field("endCursor", nullable(stringType), ""),
	}})
	add(&Type{Name: "OrderDirection", Kind: Enum, Values: []string{"ASC", "DESC"}})
	add(&Type{Name: "ChangeKind", Kind: Enum, Values: []string{"ADDED", "UPDATED", "REMOVED"}})
	filter := func(name, doc string, value *Type, comparators ...string) {
		t := &Type{Name: name, Kind: Input, Doc: doc}
		for _, c := range comparators {
			r := nullable(value)
			switch c {
			case "between":
				of := nonNull(value)
				r = Ref{List: &of}
			case "exists":
				r = nullable(booleanType)
			}
			t.Fields = append(t.Fields, field(c, r, ""))
		}
		add(t)
	}
	ordered := []string{"equal", "less", "lessOrEqual", "greater", "greaterOrEqual", "between"}
	all := "All given conditions must hold."
	one := "Exactly one condition must be given."
	filter("StringFilter", all, stringType, append(ordered, "unequal", "beginsWith", "contains", "notContains", "exists")...)
	filter("NumberFilter", all, floatType, append(ordered, "unequal", "exists")...)
	filter("DateTimeFilter", all, dateTimeType, append(ordered, "unequal", "exists")...)
	filter("BooleanFilter", all, booleanType, "equal", "unequal", "exists")
	filter("StringListFilter", all, stringType, "contains", "notContains", "exists")
	filter("NumberListFilter", all, floatType, "contains", "notContains", "exists")
	filter("BooleanListFilter", all, booleanType, "contains", "notContains", "exists")
	filter("StringRange", one, stringType, append(ordered, "beginsWith")...)
	filter("NumberRange", one, floatType, ordered...)
	filter("DateTimeRange", one, dateTimeType, ordered...)

	event := add(&Type{Name: "Event", Kind: Object, Doc: "An event of an entity.", Fields: []*Field{
		field("id", nonNull(idType), ""),
		field("sequenceNr", whole(), "The sequence number of the event's commit."),
		field("index", Ref{Type: intType, NonNull: true, Number: Number{Bits: 32}}, "The event's place in its commit, from 0."),
		field("type", nonNull(stringType), ""),
		field("version", Ref{Type: intType, NonNull: true, Number: Number{Bits: 32}}, ""),
		field("data", nullable(jsonType), ""),
		field("recordedAt", nonNull(dateTimeType), ""),
		field("user", nullable(stringType), ""),
		field("correlationId", nullable(idType), ""),
		field("causationId", nullable(idType), ""),
	}})
	b.connection(event)

	command := []*Field{
		{Name: "commandId", Type: nonNull(idType), JSON: "commandId"},
		{Name: "target", Type: nonNull(stringType), JSON: "target", Doc: "The target of CommandPending."},
	}
	b.component = "the framework"
	b.operation(&Operation{
		Kind: Query, Name: "commandOutcome", Args: command, Result: nullable(result), Action: GetOutcome, Rule: access.Anyone.Erased(),
		Doc: "The outcome of an asynchronous command; null if it is unknown or has expired. Only the user who sent the command, and administrators, get it.",
	})
	b.operation(&Operation{
		Kind: Subscription, Name: "commandOutcome", Args: command, Result: nullable(result), Action: WatchOutcome, Rule: access.Anyone.Erased(),
		Doc: "The outcome of an asynchronous command, as soon as it is known. The subscription then completes.",
	})
}

// connection adds the types of a page of nodes.
func (b *builder) connection(node *Type) *Type {
	edge := &Type{Name: node.Name + "Edge", Kind: Object, Fields: []*Field{
		{Name: "cursor", JSON: "cursor", Type: nonNull(stringType)}, {Name: "node", JSON: "node", Type: nonNull(node)},
	}}
	page := &Type{Name: node.Name + "Connection", Kind: Object, Fields: []*Field{
		{Name: "edges", JSON: "edges", Type: listOf(nonNull(edge))}, {Name: "pageInfo", JSON: "pageInfo", Type: nonNull(b.types["PageInfo"])},
	}}
	b.fail(b.add(edge, node.Name))
	b.fail(b.add(page, node.Name))
	return page
}

// fieldName returns the start of an operation's name, such as catalogProduct.
func fieldName(plugin, name string) string { return lowerFirst(plugin) + upperFirst(name) }

func (b *builder) commands(plugin string, d *component.Definition) {
	for _, c := range d.Aggregate.Commands {
		rule := d.Aggregate.Access[c.Name]
		if rule.IsInternal() {
			continue
		}
		o := &Operation{
			Kind: Mutation, Name: fieldName(plugin, d.Name) + upperFirst(c.Name), Result: nullable(b.types["CommandResult"]), Rule: rule,
			Action: SendCommand, Component: b.component, Command: c.Name, Version: c.Version,
			Doc:  commandDoc(d, c, rule),
			Args: []*Field{{Name: "id", JSON: "id", Type: nonNull(idType)}},
		}
		fields, err := b.fields(plugin, c.Go, plugin+d.Name+upperFirst(c.Name), true)
		if err != nil {
			b.fail(fmt.Errorf("command %s: %w", c.Name, err))
			continue
		}
		taken := false
		for _, f := range fields {
			if f.Name == "id" || f.Name == "commandId" {
				b.fail(fmt.Errorf("command %s: the field %s of %v has the name of an argument of all commands", c.Name, f.JSON, c.Go))
				taken = true
			}
		}
		if taken {
			continue
		}
		o.Args = append(append(o.Args, fields...), &Field{
			Name: "commandId", JSON: "commandId", Type: nullable(idType),
			Doc: "The idempotency key: a command that is sent again with the same id gets the same answer and has no further effect.",
		})
		b.operation(o)
	}
}

func commandDoc(d *component.Definition, c component.MessageType, rule authz.Rule) string {
	lines := []string{fmt.Sprintf("Sends %s to the %s with this id.", c.Name, d.Name)}
	if d.Doc != "" {
		lines = append(lines, d.Doc)
	}
	if d.Aggregate.Async {
		lines = append(lines, "The answer is CommandPending; commandOutcome reports the outcome.")
	}
	return strings.Join(append(lines, "For "+rule.String()+"."), "\n")
}

func (b *builder) history(plugin string, d *component.Definition) {
	b.operation(&Operation{
		Kind: Query, Name: fieldName(plugin, d.Name) + "Events", Result: nullable(b.types["EventConnection"]), Rule: access.Roles(access.Admin).Erased(),
		Action: ListEvents, Component: b.component,
		Doc:  fmt.Sprintf("The events of the %s with this id, in order.\nFor %s.", d.Name, access.Roles(access.Admin)),
		Args: append([]*Field{{Name: "id", JSON: "id", Type: nonNull(idType)}}, paging(false)...),
	})
}

// paging returns the arguments of a connection.
func paging(backwards bool) []*Field {
	count := Ref{Type: intType, Number: Number{Bits: 32}}
	out := []*Field{{Name: "first", JSON: "first", Type: count}, {Name: "after", JSON: "after", Type: nullable(stringType)}}
	if backwards {
		out = append(out, &Field{Name: "last", JSON: "last", Type: count}, &Field{Name: "before", JSON: "before", Type: nullable(stringType)})
	}
	return out
}

func (b *builder) readModel(plugin string, d *component.Definition) {
	m := d.ReadModel
	one := m.Singular
	if one == "" {
		one = singular(d.Name)
	}
	many := d.Name
	if many == one {
		many = plural(one)
	}
	row := b.rowType(plugin+one, d, nil)
	if row == nil {
		return
	}
	doc := func(what string) string {
		lines := []string{what}
		if d.Doc != "" {
			lines = append(lines, d.Doc)
		}
		return strings.Join(append(lines, "For "+m.Access.String()+"."), "\n")
	}
	id := &Field{Name: "id", JSON: "id", Type: nonNull(idType)}
	of := nonNull(stringType)
	waitFor := &Field{Name: "waitFor", JSON: "waitFor", Type: Ref{List: &of}, Doc: "Positions of accepted commands whose effects the answer must show."}
	single, plurals := fieldName(plugin, one), fieldName(plugin, many)

	get := &Operation{
		Kind: Query, Name: single, Args: []*Field{id}, Result: nullable(row), Rule: m.Access, Action: GetRow, Component: b.component,
		Doc: doc(fmt.Sprintf("The row of %s with this id; null if it does not exist.", d.Name)),
	}
	sub := ""
	if m.SubID != "" {
		sub = lowerFirst(m.SubID)
		get.Args = append(get.Args, &Field{Name: sub, JSON: m.SubID, Type: nonNull(stringType)})
		get.Sort = sub
		get.Doc = doc(fmt.Sprintf("The row of %s with this id and %s; null if it does not exist.", d.Name, sub))
	}
	get.Args = append(get.Args, waitFor)
	b.operation(get)

	filter, order := b.filterType(row, d), b.orderType(row)
	page := b.connection(row)
	list := &Operation{
		Kind: Query, Name: plurals, Args: paging(true), Result: nullable(page), Rule: m.Access, Action: ListRows, Component: b.component,
		Doc: doc(fmt.Sprintf("The rows of %s. Without orderBy their order is unspecified, and pages only go forward.", d.Name)),
	}
	filterArg := []*Field{}
	if filter != nil {
		filterArg = append(filterArg, &Field{Name: "filter", JSON: "filter", Type: nullable(filter)})
	}
	list.Args = append(append(list.Args, filterArg...), &Field{Name: "orderBy", JSON: "orderBy", Type: nullable(order)}, waitFor)
	b.operation(list)

	direction := &Field{Name: "direction", JSON: "direction", Type: nullable(b.types["OrderDirection"])}
	if sub != "" {
		b.operation(&Operation{
			Kind: Query, Name: single + "Items", Result: nullable(page), Rule: m.Access, Action: QueryItems, Component: b.component, Sort: sub,
			Doc:  doc(fmt.Sprintf("The rows of %s with this id, ordered by %s.", d.Name, sub)),
			Args: slices.Concat([]*Field{id, {Name: sub, JSON: m.SubID, Type: nullable(b.types["StringRange"])}}, paging(true), filterArg, []*Field{direction, waitFor}),
		})
	}
	for _, x := range m.Indexes {
		b.index(plurals, d, row, page, x, doc, slices.Concat(paging(true), filterArg, []*Field{direction, waitFor}))
	}

	change := &Type{Name: row.Name + "Change", Kind: Object, Doc: fmt.Sprintf("A change of a row of %s.", d.Name), Fields: []*Field{
		{Name: "kind", JSON: "kind", Type: nonNull(b.types["ChangeKind"])},
		{Name: "id", JSON: "id", Type: nonNull(idType)},
	}}
	if sub != "" && sub != "id" {
		change.Fields = append(change.Fields, &Field{Name: "subId", JSON: "subId", Type: nonNull(stringType)})
	}
	change.Fields = append(change.Fields,
		&Field{Name: "revision", JSON: "revision", Type: whole(), Doc: "Increases with every change of the row."},
		&Field{Name: "row", JSON: "row", Type: nullable(row), Doc: "The row after the change; null if it was deleted."})
	b.fail(b.add(change, row.Name))
	b.operation(&Operation{
		Kind: Subscription, Name: single + "Changed", Result: nullable(change), Rule: m.Access, Action: WatchRows, Component: b.component,
		Doc:  doc(fmt.Sprintf("Every further change of a row of %s, or of the rows with one id.", d.Name)),
		Args: []*Field{{Name: "id", JSON: "id", Type: nullable(idType)}},
	})
}

// rowType maps a row, with its id as the first field. only limits the fields, by their
// JSON names; nil means all.
func (b *builder) rowType(name string, d *component.Definition, only []string) *Type {
	plugin, _, _ := strings.Cut(b.component, ".")
	t := &Type{Name: name, Kind: Object, Doc: d.Doc, goType: d.ReadModel.Row.String() + " of " + d.Name, Fields: []*Field{{Name: "id", JSON: "id", Type: nonNull(idType)}}}
	fields, err := b.fields(plugin, d.ReadModel.Row, name, false)
	if err != nil {
		b.fail(err)
		return nil
	}
	for _, f := range fields {
		switch {
		case f.Name == "id":
			if f.Type.Type != stringType {
				b.fail(fmt.Errorf("the field %s of %v has the name of the row's id and is not a string", f.JSON, d.ReadModel.Row))
			}
		case only == nil || slices.Contains(only, f.JSON):
			t.Fields = append(t.Fields, f)
		}
	}
	if err := b.add(t, d.ReadModel.Row.String()); err != nil {
		b.fail(err)
		return nil
	}
	return t
}

func (b *builder) index(plurals string, d *component.Definition, row, page *Type, x driver.Index, doc func(string) string, args []*Field) {
	o := &Operation{
		Kind: Query, Name: plurals + "By" + upperFirst(x.Name), Result: nullable(page), Rule: d.ReadModel.Access, Action: QueryIndex,
		Component: b.component, Index: x.Name, Key: lowerFirst(x.Key.Name),
	}
	what := fmt.Sprintf("The rows of %s with this %s", d.Name, o.Key)
	key := b.fieldOf(row, d, x.Key.Name)
	if key == nil {
		return
	}
	key.Type.NonNull = true
	args = slices.Insert(args, 0, key)
	if x.Sort != nil {
		o.Sort = lowerFirst(x.Sort.Name)
		sort := b.fieldOf(row, d, x.Sort.Name)
		if sort == nil {
			return
		}
		kind := "StringRange"
		switch {
		case x.Sort.Number:
			kind = "NumberRange"
		case sort.Type.Type == dateTimeType:
			kind = "DateTimeRange"
		}
		args = slices.Insert(args, 1, &Field{Name: sort.Name, JSON: sort.JSON, Type: nullable(b.types[kind])})
		what += ", ordered by " + o.Sort
	}
	if x.Include != nil {
		// The type has the fields that the index includes: others would be zero values.
		only := append([]string{x.Key.Name, d.ReadModel.SubID}, x.Include...)
		if x.Sort != nil {
			only = append(only, x.Sort.Name)
		}
		narrow := b.rowType(row.Name+"By"+upperFirst(x.Name), d, only)
		if narrow == nil {
			return
		}
		o.Result = nullable(b.connection(narrow))
	}
	o.Doc, o.Args = doc(what+"."), args
	b.operation(o)
}

// fieldOf returns a copy of the row's field of a JSON name.
func (b *builder) fieldOf(row *Type, d *component.Definition, name string) *Field {
	for _, f := range row.Fields {
		if f.JSON == name {
			c := *f
			return &c
		}
	}
	f, _ := jsonfield.Named(d.ReadModel.Row, name)
	b.fail(fmt.Errorf("%s: an index uses the field, which is not in the API", f.Go))
	return nil
}

// filterType adds the input type of a read model's filters; it returns nil if no field
// can be filtered by.
func (b *builder) filterType(row *Type, d *component.Definition) *Type {
	t := &Type{Name: row.Name + "Filter", Kind: Input, Doc: "All given conditions must hold."}
	for _, f := range row.Fields {
		if _, ok := jsonfield.Named(d.ReadModel.Row, f.JSON); !ok {
			continue // the id is not a field of the row
		}
		name := filterOf(f.Type)
		if name == "" {
			continue
		}
		t.Fields = append(t.Fields, &Field{Name: f.Name, JSON: f.JSON, Type: nullable(b.types[name])})
	}
	if len(t.Fields) == 0 {
		return nil
	}
	b.fail(b.add(t, row.Name))
	return t
}

func filterOf(r Ref) string {
	if r.List != nil {
		switch r.List.Type {
		case stringType, dateTimeType:
			return "StringListFilter"
		case intType, floatType:
			return "NumberListFilter"
		case booleanType:
			return "BooleanListFilter"
		}
		return ""
	}
	switch r.Type {
	case stringType:
		return "StringFilter"
	case intType, floatType:
		return "NumberFilter"
	case booleanType:
		return "BooleanFilter"
	case dateTimeType:
		return "DateTimeFilter"
	}
	return ""
}

func (b *builder) orderType(row *Type) *Type {
	fields := &Type{Name: row.Name + "OrderField", Kind: Enum}
	for _, f := range row.Fields {
		if slices.Contains([]string{"true", "false", "null"}, f.Name) || f.Type.List != nil {
			continue
		}
		if slices.Contains([]*Type{idType, stringType, intType, floatType, booleanType, dateTimeType}, f.Type.Type) {
			fields.Values = append(fields.Values, f.Name)
		}
	}
	b.fail(b.add(fields, row.Name))
	t := &Type{Name: row.Name + "Order", Kind: Input, Fields: []*Field{
		{Name: "field", JSON: "field", Type: nonNull(fields)},
		{Name: "direction", JSON: "direction", Type: nullable(b.types["OrderDirection"])},
	}}
	b.fail(b.add(t, row.Name))
	return t
}

// prune removes the types that no operation uses.
func (b *builder) prune() {
	used := map[*Type]bool{}
	var use func(Ref)
	var visit func(*Type)
	use = func(r Ref) {
		if r.List != nil {
			use(*r.List)
		} else {
			visit(r.Type)
		}
	}
	visit = func(t *Type) {
		if used[t] {
			return
		}
		used[t] = true
		for _, f := range t.Fields {
			use(f.Type)
		}
		for _, m := range t.Members {
			visit(m)
		}
	}
	for _, o := range b.schema.Operations {
		use(o.Result)
		for _, a := range o.Args {
			use(a.Type)
		}
	}
	b.schema.Types = slices.DeleteFunc(b.schema.Types, func(t *Type) bool { return !used[t] })
}
