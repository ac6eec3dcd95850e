package awstest

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/querydb"
	"github.com/reventless-go/reventless/aws/queryengine"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

// ReadModels are the read models of one test on DynamoDB Local.
type ReadModels struct {
	p     *Provider
	start time.Time
	ticks atomic.Int64
}

// NewReadModels returns an empty store.
func NewReadModels(t testing.TB) *ReadModels {
	t.Helper()
	return &ReadModels{
		p:     &Provider{nil, NewDeployment(t, topology.App{Name: "test"}, DynamoDB(t), DynamoDB(t))},
		start: time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC),
	}
}

// Now is the clock of the drivers. Every call advances it by a microsecond.
func (r *ReadModels) Now() time.Time {
	return r.start.Add(time.Duration(r.ticks.Add(1)) * time.Microsecond)
}

// Table returns the name of a table of a read model.
func (r *ReadModels) Table(kind naming.Kind, spec driver.TableSpec) string {
	return r.p.Resource(kind, spec.Name)
}

// Db opens the store of a read model through a transport; nil means the plain transport.
func (r *ReadModels) Db(t testing.TB, transport http.RoundTripper, spec driver.TableSpec, spent func(string, *types.ConsumedCapacity)) *querydb.Db {
	t.Helper()
	return r.DbOf(t, DynamoDB(t).Clients(transport).DynamoDB, spec, spent)
}

// DbOf opens the store of a read model with a client.
func (r *ReadModels) DbOf(t testing.TB, client *dynamodb.Client, spec driver.TableSpec, spent func(string, *types.ConsumedCapacity)) *querydb.Db {
	t.Helper()
	err := r.p.Rows(spec)
	if err == nil {
		var db *querydb.Db
		if db, err = querydb.Open(client, r.Table(naming.Rows, spec), r.Table(naming.Watermarks, spec), spec, &querydb.Options{Now: r.Now, Spent: spent}); err == nil {
			return db
		}
	}
	t.Fatal(err)
	return nil
}

// Engine opens the query side of read models through a transport.
func (r *ReadModels) Engine(t testing.TB, transport http.RoundTripper, spent func(string, *types.ConsumedCapacity), specs ...driver.TableSpec) *queryengine.Engine {
	t.Helper()
	tables := make([]queryengine.Table, len(specs))
	for i, spec := range specs {
		if err := r.p.Rows(spec); err != nil {
			t.Fatal(err)
		}
		tables[i] = queryengine.Table{Spec: spec, Name: r.Table(naming.Rows, spec)}
	}
	e, err := queryengine.Open(DynamoDB(t).Clients(transport).DynamoDB, tables, &queryengine.Options{Now: r.Now, Spent: spent})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Fill writes rows, several in one step.
func Fill(t testing.TB, db driver.QueryDb, rows []driver.Row) {
	t.Helper()
	for len(rows) > 0 {
		n := min(len(rows), 50)
		var step driver.Step
		for _, row := range rows[:n] {
			step.Writes = append(step.Writes, driver.RowWrite{Row: row})
		}
		if err := db.Apply(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
}

// PutItem puts an item into the table of a read model without the driver.
func (r *ReadModels) PutItem(ctx context.Context, spec driver.TableSpec, id string, rest map[string]types.AttributeValue) error {
	item := map[string]types.AttributeValue{rowtable.ID: &types.AttributeValueMemberS{Value: id}}
	for name, v := range rest {
		item[name] = v
	}
	_, err := r.p.dynamoDB.DynamoDB.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(r.Table(naming.Rows, spec)), Item: item})
	return err
}
