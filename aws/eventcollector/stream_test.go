package eventcollector_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/eventlog"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

// createTable makes a table with the key of two attributes, as a deployment would.
func createTable(ctx context.Context, t testing.TB, client *dynamodb.Client, in *dynamodb.CreateTableInput, hash, sort string, sortType types.ScalarAttributeType) {
	t.Helper()
	in.BillingMode = types.BillingModePayPerRequest
	in.AttributeDefinitions = []types.AttributeDefinition{
		{AttributeName: &hash, AttributeType: types.ScalarAttributeTypeS},
		{AttributeName: &sort, AttributeType: sortType},
	}
	in.KeySchema = []types.KeySchemaElement{
		{AttributeName: &hash, KeyType: types.KeyTypeHash},
		{AttributeName: &sort, KeyType: types.KeyTypeRange},
	}
	if _, err := client.CreateTable(ctx, in); err != nil {
		t.Fatal(err)
	}
}

func createLog(ctx context.Context, t testing.TB, client *dynamodb.Client, name string) {
	t.Helper()
	createTable(ctx, t, client, &dynamodb.CreateTableInput{
		TableName:           &name,
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage},
	}, "id", "sequenceNr", types.ScalarAttributeTypeN)
}

func createPositions(ctx context.Context, t testing.TB, client *dynamodb.Client, name string) {
	t.Helper()
	createTable(ctx, t, client, &dynamodb.CreateTableInput{TableName: &name}, streams.Consumer, streams.Shard, types.ScalarAttributeTypeS)
}

// feeds is a provider of logs and of their collectors, and of nothing else.
type feeds struct {
	driver.Provider
	store   *store
	clients *awstest.Clients

	mu         sync.Mutex
	closed     bool
	collectors map[driver.CollectorSpec]driver.EventCollector
}

// store is what a test keeps in an emulator.
type store struct {
	t     *testing.T
	plain *dynamodb.Client
	stack string
	clock *drivertest.Clock

	mu   sync.Mutex
	made map[string]bool
}

func newStore(t *testing.T, e *awstest.Emulator) *store {
	s := &store{t: t, plain: e.Clients(awstest.Transport()).DynamoDB, stack: awstest.Stack(), clock: drivertest.NewClock(), made: map[string]bool{}}
	createPositions(t.Context(), t, s.plain, s.stack+"-positions")
	return s
}

func (s *store) log(ctx context.Context, name string) string {
	sum := sha256.Sum256([]byte(name))
	table := s.stack + "-" + hex.EncodeToString(sum[:8])
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.made[table] {
		createLog(ctx, s.t, s.plain, table)
		s.made[table] = true
	}
	return table
}

func (s *store) open(clients *awstest.Clients) *feeds {
	return &feeds{store: s, clients: clients, collectors: map[driver.CollectorSpec]driver.EventCollector{}}
}

func (p *feeds) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	return eventlog.Open(p.clients.DynamoDB, p.store.log(ctx, name), nil), nil
}

// OpenEventCollector opens a collector once: there may be only one.
func (p *feeds) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.EventCollector, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.collectors[spec]; c != nil {
		return c, nil
	}
	c, err := eventcollector.OpenStream(p.clients.DynamoDB, p.clients.Streams, p.store.log(ctx, spec.Source.Log), p.store.stack+"-positions", spec,
		&eventcollector.StreamOptions{Interval: 5 * time.Millisecond, Now: p.store.clock.Now})
	if err != nil {
		return nil, err
	}
	p.collectors[spec] = c
	return c, nil
}

func (p *feeds) Limits() driver.Limits { return driver.Limits{MaxCommitBytes: eventlog.MaxCommitBytes} }

func (p *feeds) Close() error { return nil }

func streamFixture(t *testing.T, e *awstest.Emulator, open func(*store) driver.Provider) *drivertest.Fixture {
	s := newStore(t, e)
	return &drivertest.Fixture{
		Provider: open(s), Now: s.clock.Now, Advance: s.clock.Advance, Lag: 200 * time.Millisecond,
		Reopen: func(*testing.T) driver.Provider { return open(s) },
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	drivertest.TestEventCollector(t, func(t *testing.T) *drivertest.Fixture {
		return streamFixture(t, awstest.DynamoDB(t), func(s *store) driver.Provider { return s.open(awstest.DynamoDB(t).Clients(nil)) })
	})
}

// MiniStack has streams of its own making.
func TestStreamOnMiniStack(t *testing.T) {
	t.Parallel()
	drivertest.TestEventCollector(t, func(t *testing.T) *drivertest.Fixture {
		return streamFixture(t, awstest.MiniStack(t), func(s *store) driver.Provider { return s.open(awstest.MiniStack(t).Clients(nil)) })
	})
}

func TestStreamUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 1, drivertest.TestEventCollector, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		clients := awstest.DynamoDB(t).Patient(faults)
		return streamFixture(t, awstest.DynamoDB(t), func(s *store) driver.Provider { return hosted{s.open(clients)} })
	}, awstest.Mix("DynamoDBStreams.*", "DynamoDB.Query", "DynamoDB.UpdateItem", "DynamoDB.DeleteItem")...)
}

// hosted is feeds whose collectors are asked again after failures that pass, as a
// host asks them.
type hosted struct{ *feeds }

func (p hosted) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.EventCollector, error) {
	c, err := p.feeds.OpenEventCollector(ctx, spec)
	return hostedCollector{c}, err
}

type hostedCollector struct{ driver.EventCollector }

func (c hostedCollector) Receive(ctx context.Context, max int) (b driver.Batch[driver.Record], err error) {
	err = awstest.Again(ctx, func() error {
		b, err = c.EventCollector.Receive(ctx, max)
		return err
	})
	return b, err
}
