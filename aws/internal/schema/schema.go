// Package schema says what the DynamoDB tables of a stack look like, as data: what
// a deployment makes and the drivers expect. It links neither an SDK nor Pulumi.
package schema

import (
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

// Type is the type of an attribute that is part of a key.
type Type string

// The types.
const (
	Text   Type = "S"
	Number Type = "N"
	Binary Type = "B"
)

// Attribute is an attribute that is part of a key.
type Attribute struct {
	Name string
	Type Type
}

// Key is a partition key, and a sort key unless its name is empty.
type Key struct{ Partition, Sort Attribute }

// Index is a global secondary index.
type Index struct {
	Name string
	Key  Key
}

// Stream is what the stream of a table tells.
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
	// Component is whose it is; empty for those of the whole application.
	Component string
	Key       Key
	Indexes   []Index
	// TTL is the attribute by which DynamoDB removes what has expired.
	TTL    string
	Stream Stream
	// Lasting is true for what cannot be made anew from other tables: the logs, the
	// letters, how far a side effect has come.
	Lasting bool
}

// Attributes are those of the keys of the table and its indexes, each once.
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

// Tables are the tables of an application, in the order of its components.
func Tables(app topology.App) []Table {
	var tables []Table
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			tables = append(tables, TablesOf(c)...)
		}
	}
	return append(tables,
		Table{Kind: naming.DeadLetters, Key: key("list", "key", Binary), Lasting: true},
		Table{Kind: naming.Outcomes, Key: key("commandId", "", ""), TTL: "ttl"},
	)
}

// TablesOf are the tables of one component.
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
			rows.TTL = "" // the watermark in it outlives the row
			return []Table{rows}
		}
		return []Table{rows, watermarks}
	case "Automation", "SideEffect", "Extension":
		watermarks.Lasting = true // without it, all would happen again
		return []Table{watermarks}
	}
	return nil
}

// key is a key with a partition of text.
func key(partition, sort string, s Type) Key {
	return Key{Attribute{partition, Text}, Attribute{sort, s}}
}
