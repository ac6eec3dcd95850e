// Package schema describes the DynamoDB tables of a stack as data. A deployment
// creates them and the drivers rely on them. It links neither an SDK nor Pulumi.
package schema

import (
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

// Type is the type of a key attribute.
type Type string

// The types.
const (
	Text   Type = "S"
	Number Type = "N"
	Binary Type = "B"
)

// Attribute is a key attribute.
type Attribute struct {
	Name string
	Type Type
}

// Key is a partition key with a sort key, unless the sort key's name is empty.
type Key struct{ Partition, Sort Attribute }

// Index is a global secondary index.
type Index struct {
	Name string
	Key  Key
}

// Stream is the content of a table's stream.
type Stream string

// The streams.
const (
	NoStream  Stream = ""
	NewImage  Stream = "NEW_IMAGE"
	BothSides Stream = "NEW_AND_OLD_IMAGES"
)

// Table is a table.
type Table struct {
	Kind naming.Kind
	// Component is the owner; empty for a table of the whole application.
	Component string
	Key       Key
	Indexes   []Index
	// TTL is the attribute with the expiry of items; empty for none.
	TTL    string
	Stream Stream
	// Lasting is true for data that cannot be rebuilt from other tables: logs, dead
	// letters, counts, and the watermarks of automations, side effects and
	// extensions.
	Lasting bool
}

// Attributes returns the key attributes of the table and its indexes, each once.
func (t Table) Attributes() []Attribute {
	var all []Attribute
	seen := map[string]bool{"": true}
	add := func(k Key) {
		for _, a := range []Attribute{k.Partition, k.Sort} {
			if !seen[a.Name] {
				seen[a.Name] = true
				all = append(all, a)
			}
		}
	}
	add(t.Key)
	for _, i := range t.Indexes {
		add(i.Key)
	}
	return all
}

// Tables returns the tables of an application in the order of its components.
func Tables(app topology.App) []Table {
	var tables []Table
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			tables = append(tables, TablesOf(c)...)
		}
	}
	return append(tables,
		Table{Kind: naming.DeadLetters, Key: key("list", "key", Binary), Lasting: true},
		Table{Kind: naming.Outcomes, Key: key("commandId", "target", Text), TTL: "ttl"},
	)
}

// TablesOf returns the tables of one component.
func TablesOf(c topology.Component) []Table {
	log := Table{Kind: naming.Log, Component: c.Name, Key: key("id", "sequenceNr", Number), Stream: NewImage, Lasting: true}
	watermarks := Table{Kind: naming.Watermarks, Component: c.Name, Key: key("stream", "log", Text)}
	switch c.Kind {
	case "Aggregate":
		return []Table{log}
	case "Counter":
		return []Table{
			log,
			{Kind: naming.Refs, Component: c.Name, Key: key("use", "reference", Text), TTL: "ttl"},
			{Kind: naming.Counts, Component: c.Name, Key: key("counterId", "", ""), Stream: NewImage, Lasting: true},
		}
	case "ReadModel":
		rows := Table{Kind: naming.Rows, Component: c.Name, Key: key("id", "", ""), TTL: "ttl", Stream: BothSides}
		if c.SubID != "" {
			rows.Key = key("id", "sub", Text)
		}
		for _, i := range c.Indexes {
			rows.Indexes = append(rows.Indexes, Index{Name: "index-" + i.Name, Key: key("k:"+i.Name, "s:"+i.Name, Text)})
		}
		if c.OwnRow {
			rows.TTL = "" // an item must outlive its row: it has the watermark
			return []Table{rows}
		}
		return []Table{rows, watermarks}
	case "Automation", "SideEffect", "Extension":
		watermarks.Lasting = true // without them all effects would be repeated
		return []Table{watermarks}
	}
	return nil
}

// key returns a key with a partition key of type Text.
func key(partition, sort string, s Type) Key {
	return Key{Attribute{partition, Text}, Attribute{sort, s}}
}
