package awstest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/provider"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

// Provider is the provider of functions. It creates the resources that it opens, as a
// deployment does.
type Provider struct {
	*provider.Provider
	*Deployment
}

// Provider returns a provider whose clients have a configuration of [Emulator.Config] and
// whose clock is now.
func (s *Deployment) Provider(cfg aws.Config, now func() time.Time) (*Provider, error) {
	cfg.BaseEndpoint = nil
	p, err := provider.New(provider.Options{
		App: s.App.Name, Stack: s.Name, Account: Account, AWS: cfg, Now: now,
		Endpoint: func(service string) *string {
			if service == "DYNAMODB" {
				return &s.DynamoDB.Endpoint
			}
			return &s.Others.Endpoint
		},
	})
	if err != nil {
		return nil, err
	}
	return &Provider{p, s}, nil
}

// tables creates the tables of a component.
func (p *Provider) tables(c topology.Component, kinds ...naming.Kind) error {
	for _, t := range schema.TablesOf(c) {
		if len(kinds) == 0 || slices.Contains(kinds, t.Kind) {
			if err := p.Table(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// appTable creates a table of the application.
func (p *Provider) appTable(kind naming.Kind) error {
	for _, t := range schema.Tables(topology.App{}) {
		if t.Kind == kind {
			return p.Table(t)
		}
	}
	return fmt.Errorf("the application has no table of kind %v", kind)
}

// OpenEventLog implements [driver.Provider].
func (p *Provider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	if err := p.tables(topology.Component{Name: name, Kind: "Aggregate"}); err != nil {
		return nil, err
	}
	return p.Provider.OpenEventLog(ctx, name)
}

// OpenCommandTopic implements [driver.Provider].
func (p *Provider) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	if err := p.Queue(wiring.Trigger{Source: naming.Commands, Component: name}); err != nil {
		return nil, err
	}
	return p.Provider.OpenCommandTopic(ctx, name)
}

// OpenEventTopic implements [driver.Provider].
func (p *Provider) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	if err := p.Topic(spec.Log); err != nil {
		return nil, err
	}
	for _, consumer := range spec.Subscribers {
		if err := p.Queue(wiring.Trigger{Source: naming.Collector, Component: consumer, Logs: []string{spec.Log}}); err != nil {
			return nil, err
		}
	}
	return p.Provider.OpenEventTopic(ctx, spec)
}

// OpenWatermarks implements [driver.Provider]. Unlike in an application, a consumer may have
// the name of a read model.
func (p *Provider) OpenWatermarks(ctx context.Context, consumer string) (driver.Watermarks, error) {
	consumer += "Consumer"
	if err := p.tables(topology.Component{Name: consumer, Kind: "Automation"}); err != nil {
		return nil, err
	}
	return p.Provider.OpenWatermarks(ctx, consumer)
}

func component(spec driver.TableSpec) topology.Component {
	c := topology.Component{Name: spec.Name, Kind: "ReadModel", SubID: spec.SubID, OwnRow: spec.OwnRow}
	for _, i := range spec.Indexes {
		c.Indexes = append(c.Indexes, topology.Index{Name: i.Name})
	}
	return c
}

// Rows creates the tables and the missing indexes of a read model.
func (p *Provider) Rows(spec driver.TableSpec) error {
	if err := p.tables(component(spec)); err != nil {
		return err
	}
	return p.Deployment.indexes(spec)
}

// OpenQueryDb implements [driver.Provider].
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	if err := p.Rows(spec); err != nil {
		return nil, err
	}
	return p.Provider.OpenQueryDb(ctx, spec)
}

// OpenQueryEngine implements [driver.Provider].
func (p *Provider) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	for _, spec := range specs {
		if err := p.Rows(spec); err != nil {
			return nil, err
		}
	}
	return p.Provider.OpenQueryEngine(ctx, specs)
}

// OpenCounter implements [driver.Provider].
func (p *Provider) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	if err := p.tables(topology.Component{Name: name, Kind: "Counter"}, naming.Refs, naming.Counts); err != nil {
		return nil, err
	}
	return p.Provider.OpenCounter(ctx, name)
}

// OpenScheduler implements [driver.Provider].
func (p *Provider) OpenScheduler(ctx context.Context) (driver.Scheduler, error) {
	if err := p.Schedules(); err != nil {
		return nil, err
	}
	return p.Provider.OpenScheduler(ctx)
}

// OpenBucket implements [driver.Provider].
func (p *Provider) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	if err := p.Bucket(name, true); err != nil {
		return nil, err
	}
	return p.Provider.OpenBucket(ctx, name)
}

// OpenDeadLetters implements [driver.Provider].
func (p *Provider) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	if err := p.appTable(naming.DeadLetters); err != nil {
		return nil, err
	}
	return p.Provider.OpenDeadLetters(ctx)
}

// OpenOutcomes implements [driver.Provider].
func (p *Provider) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	if err := p.appTable(naming.Outcomes); err != nil {
		return nil, err
	}
	return p.Provider.OpenOutcomes(ctx)
}

// indexes adds the missing indexes to the table of a read model.
func (s *Deployment) indexes(spec driver.TableSpec) error {
	for _, index := range spec.Indexes {
		name := s.Resource(naming.Rows, spec.Name)
		if err := s.once("index "+index.Name+" of "+name, func() error { return s.addIndex(name, rowtable.IndexName(index.Name), index.Name) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Deployment) addIndex(table, name, index string) error {
	has := func() (there, active bool, err error) {
		out, err := s.dynamoDB.DynamoDB.DescribeTable(s.ctx, &dynamodb.DescribeTableInput{TableName: &table})
		if err != nil {
			return false, false, err
		}
		for _, i := range out.Table.GlobalSecondaryIndexes {
			if aws.ToString(i.IndexName) == name {
				return true, i.IndexStatus == types.IndexStatusActive, nil
			}
		}
		return false, false, nil
	}
	there, _, err := has()
	if err != nil || there {
		return err
	}
	attribute := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	key, sort := rowtable.KeyAttribute(index), rowtable.SortAttribute(index)
	_, err = s.dynamoDB.DynamoDB.UpdateTable(s.ctx, &dynamodb.UpdateTableInput{
		TableName: &table, AttributeDefinitions: []types.AttributeDefinition{attribute(key), attribute(sort)},
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: &name, Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
			KeySchema: []types.KeySchemaElement{{AttributeName: &key, KeyType: types.KeyTypeHash}, {AttributeName: &sort, KeyType: types.KeyTypeRange}},
		}}},
	})
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for err == nil {
		// The emulator sometimes fails while it creates an index.
		if _, active, err := has(); err == nil && active {
			return nil
		}
		<-again.C
	}
	return err
}

// stores is a provider without receivers, for suites of stores.
type stores struct {
	driver.Provider
	driver.Sources
}

// TableOf creates a table on DynamoDB Local and returns its name. The table belongs to c, or
// to the application if its kind does.
func TableOf(t testing.TB, kind naming.Kind, c topology.Component) string {
	t.Helper()
	return TableOn(t, DynamoDB(t), kind, c)
}

// TableOn is TableOf on another emulator.
func TableOn(t testing.TB, e *Emulator, kind naming.Kind, c topology.Component) string {
	t.Helper()
	p := &Provider{nil, NewDeployment(t, topology.App{Name: "test"}, e, e)}
	c.Name = "Test.Thing"
	err := p.tables(c, kind)
	if kind == naming.DeadLetters || kind == naming.Outcomes {
		err, c.Name = p.appTable(kind), ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.Resource(kind, c.Name)
}
