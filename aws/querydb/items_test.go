package querydb_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/querydb"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

// A foreign item fails the calls that read it and affects no other row.
func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	client := awstest.DynamoDB(t).Clients(nil).DynamoDB
	db, engine := s.Db(t, nil, shared, nil), s.Engine(t, nil, nil, shared)
	awstest.Fill(t, db, []driver.Row{row("good", 1)})
	table := s.Table(naming.Rows, shared)
	data, rev := &types.AttributeValueMemberS{Value: `{}`}, &types.AttributeValueMemberN{Value: "1"}
	for id, c := range map[string]struct {
		attribute string
		item      map[string]types.AttributeValue
	}{
		"bare":       {"data", nil},
		"binary":     {"data", map[string]types.AttributeValue{"data": &types.AttributeValueMemberB{Value: []byte("{}")}, "rev": rev}},
		"unnumbered": {"rev", map[string]types.AttributeValue{"data": data}},
		"fraction":   {"rev", map[string]types.AttributeValue{"data": data, "rev": &types.AttributeValueMemberN{Value: "1.5"}}},
		"ending":     {"ends", map[string]types.AttributeValue{"data": data, "rev": rev, "ends": &types.AttributeValueMemberS{Value: "soon"}}},
	} {
		if err := s.PutItem(t.Context(), shared, id, c.item); err != nil {
			t.Fatal(err)
		}
		_, load := db.Load(t.Context(), id)
		_, loadRow := db.LoadRow(t.Context(), driver.Key{ID: id})
		_, loadRows := db.LoadRows(t.Context(), []driver.Key{{ID: "good"}, {ID: id}})
		_, query := engine.Query(t.Context(), driver.Query{ReadModel: shared.Name, Value: id})
		for method, err := range map[string]error{"Load": load, "LoadRow": loadRow, "LoadRows": loadRows, "Query": query} {
			if !errors.Is(err, driver.ErrDamaged) || !strings.Contains(err.Error(), table) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), c.attribute) {
				t.Errorf("%s of the foreign %s: %v", method, id, err)
			}
		}
	}
	if _, err := engine.Scan(t.Context(), driver.Scan{ReadModel: shared.Name}); !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("Scan: %v", err)
	}
	if r, err := db.LoadRow(t.Context(), driver.Key{ID: "good"}); err != nil || string(r.Data) != `{"n":1}` {
		t.Errorf("the good row: %s, %v", r.Data, err)
	}
	// The same for watermarks.
	_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.Table(naming.Watermarks, shared)), Item: map[string]types.AttributeValue{
		"stream": &types.AttributeValueMemberS{Value: "odd"}, "log": &types.AttributeValueMemberS{Value: "Test.Log"}, "seq": data,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Watermark(t.Context(), stream("odd")); !errors.Is(err, driver.ErrDamaged) || !strings.Contains(err.Error(), "odd") || !strings.Contains(err.Error(), "seq") {
		t.Errorf("Watermark of a foreign item: %v", err)
	}
}

// DynamoDB must not delete expired rows that have watermarks.
func TestExpiryKeepsWatermarks(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	client := awstest.DynamoDB(t).Clients(nil).DynamoDB
	for _, spec := range []driver.TableSpec{shared, own} {
		db := s.Db(t, nil, spec, nil)
		r := row("a", 1)
		r.ExpiresAt = s.Now().Add(time.Hour)
		if err := db.Apply(t.Context(), driver.Step{Advances: []driver.Advance{advance("a", 0)}, Writes: []driver.RowWrite{put(r)}}); err != nil {
			t.Fatal(err)
		}
		table := s.Table(naming.Rows, spec)
		out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "a"}}})
		if err != nil {
			t.Fatal(err)
		}
		ttl := schema.TablesOf(topology.Component{Kind: "ReadModel", OwnRow: spec.OwnRow})[0].TTL
		if _, ends := out.Item["ttl"]; ends == spec.OwnRow || (ttl == "") != spec.OwnRow {
			t.Errorf("%s: DynamoDB removes what ends by %q, the row has the attribute: %t", spec.Name, ttl, ends)
		}
	}
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	client := awstest.DynamoDB(t).Clients(nil).DynamoDB
	db, err := querydb.Open(client, "missing", "missing2", shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Load(t.Context(), "a"); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Load: %v, want unavailable", err)
	}
	if _, err := db.Watermark(t.Context(), stream("a")); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Watermark: %v, want unavailable", err)
	}
}
