package schema_test

import (
	"reflect"
	"testing"

	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/deadletters"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/outcomes"
	"github.com/reventless-go/reventless/aws/watermarks"
	"github.com/reventless-go/reventless/topology"
)

// The deployed tables have the attributes that the drivers use.
func TestTablesAreThoseOfTheDrivers(t *testing.T) {
	t.Parallel()
	app := topology.App{Plugins: []topology.Plugin{{Components: []topology.Component{
		{Name: "P.Agg", Kind: "Aggregate"},
		{Name: "P.Own", Kind: "ReadModel", OwnRow: true},
		{Name: "P.Sub", Kind: "ReadModel", SubID: "nr", Indexes: []topology.Index{{Name: "byName", Key: "name"}}},
		{Name: "P.Auto", Kind: "Automation"},
		{Name: "P.Count", Kind: "Counter"},
		{Name: "P.Files", Kind: "Bucket"},
	}}}}
	text := func(partition, sort string) schema.Key {
		k := schema.Key{Partition: schema.Attribute{Name: partition, Type: schema.Text}}
		if sort != "" {
			k.Sort = schema.Attribute{Name: sort, Type: schema.Text}
		}
		return k
	}
	typed := func(k schema.Key, sort string, as schema.Type) schema.Key {
		k.Sort = schema.Attribute{Name: sort, Type: as}
		return k
	}
	log := func(component string) schema.Table {
		return schema.Table{Kind: naming.Log, Component: component, Key: typed(text("id", ""), "sequenceNr", schema.Number), Stream: schema.NewImage, Lasting: true}
	}
	want := []schema.Table{
		log("P.Agg"),
		{Kind: naming.Rows, Component: "P.Own", Key: text(rowtable.ID, ""), Stream: schema.BothSides},
		{
			Kind: naming.Rows, Component: "P.Sub", Key: text(rowtable.ID, rowtable.Sub), TTL: rowtable.TTL, Stream: schema.BothSides,
			Indexes: []schema.Index{{Name: rowtable.IndexName("byName"), Key: text(rowtable.KeyAttribute("byName"), rowtable.SortAttribute("byName"))}},
		},
		{Kind: naming.Watermarks, Component: "P.Sub", Key: text(watermarks.Stream, watermarks.Log)},
		{Kind: naming.Watermarks, Component: "P.Auto", Key: text(watermarks.Stream, watermarks.Log), Lasting: true},
		log("P.Count"),
		{Kind: naming.Refs, Component: "P.Count", Key: text(counter.Use, counter.Reference), TTL: counter.TTL},
		{Kind: naming.Counts, Component: "P.Count", Key: text(counter.CounterID, ""), Stream: schema.NewImage, Lasting: true},
		{Kind: naming.DeadLetters, Key: typed(text(deadletters.Partition, ""), deadletters.Sort, schema.Binary), Lasting: true},
		{Kind: naming.Outcomes, Key: text(outcomes.Key, outcomes.SortKey), TTL: outcomes.TTL},
	}
	got := schema.Tables(app)
	if len(got) != len(want) {
		t.Fatalf("%d tables, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("table %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}
