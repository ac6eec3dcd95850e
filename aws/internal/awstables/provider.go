package awstables

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/checkpoints"
	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/querydb"
	"github.com/reventless-go/reventless/aws/queryengine"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

// Store is what a test keeps in DynamoDB, under names that nobody else has.
type Store struct {
	t      testing.TB
	client *dynamodb.Client // makes the tables; not the one under test
	stack  string
	clock  *drivertest.Clock
	ticks  atomic.Int64

	deploying sync.Mutex                  // one after the other
	mu        sync.Mutex                  // guards the rest
	specs     map[string]driver.TableSpec // as last opened
	made      map[string]bool
}

// NewStore returns an empty store. Its tables are made by a client that nothing
// stands before.
func NewStore(t testing.TB, client *dynamodb.Client, stack string) *Store {
	return &Store{t: t, client: client, stack: stack, clock: drivertest.NewClock(), specs: map[string]driver.TableSpec{}, made: map[string]bool{}}
}

// Now is the clock of the drivers: the fixture's, which stands still, and a
// microsecond more every time, as clocks do.
func (s *Store) Now() time.Time {
	return s.clock.Now().Add(time.Duration(s.ticks.Add(1)) * time.Microsecond)
}

// Table is the physical name of a table: what is its purpose, name a component's.
func (s *Store) Table(what, name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.stack + "-" + what + "-" + hex.EncodeToString(sum[:8])
}

// Fixture returns a fixture of drivers over client.
func (s *Store) Fixture(client *dynamodb.Client) *drivertest.Fixture {
	return s.fixture(Provider{store: s, client: client})
}

// FixtureUnderFaults returns a fixture of drivers over a client whose requests fail
// and are sent again. They are used as the engine uses them.
func (s *Store) FixtureUnderFaults(client *dynamodb.Client) *drivertest.Fixture {
	return s.fixture(Provider{store: s, client: client, repeats: true})
}

func (s *Store) fixture(p Provider) *drivertest.Fixture {
	open := func() *Provider { return &p }
	return &drivertest.Fixture{
		Provider: open(), Now: s.clock.Now, Advance: s.clock.Advance,
		Reopen: func(*testing.T) driver.Provider { return open() },
	}
}

// Provider is a provider of what read models and consumers need, and nothing else.
type Provider struct {
	driver.Provider
	store   *Store
	client  *dynamodb.Client
	repeats bool
}

// Limits are those of read models.
func (p *Provider) Limits() driver.Limits {
	return driver.Limits{MaxRowBytes: querydb.MaxRowBytes, MaxStep: querydb.MaxStep}
}

// Close does nothing.
func (p *Provider) Close() error { return nil }

// OpenCheckpoints makes the table if it is new.
func (p *Provider) OpenCheckpoints(ctx context.Context, consumer string) (driver.Checkpoints, error) {
	table := p.store.Table("marks", consumer)
	if err := p.store.Create(ctx, Marks(table)); err != nil {
		return nil, err
	}
	c := checkpoints.Open(p.client, table, nil)
	if p.repeats {
		return repeatedCheckpoints{c}, nil
	}
	return c, nil
}

// OpenQueryDb makes the tables, or brings them up to date as a deployment would.
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	db, err := p.store.OpenQueryDb(ctx, p.client, spec, nil)
	if err == nil && p.repeats {
		return repeatedDb{db}, nil
	}
	return db, err
}

// OpenQueryDb opens a read model whose tables are there, with other options.
func (s *Store) OpenQueryDb(ctx context.Context, client *dynamodb.Client, spec driver.TableSpec, opts *querydb.Options) (*querydb.Db, error) {
	if opts == nil {
		opts = &querydb.Options{}
	}
	opts.Now = s.Now
	db, err := querydb.Open(client, s.Table("rows", spec.Name), s.Table("marks", spec.Name), spec, opts)
	if err != nil {
		return nil, err
	}
	return db, s.deploy(ctx, spec)
}

// OpenQueryEngine makes the tables of read models that are new.
func (p *Provider) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	return p.store.OpenQueryEngine(ctx, p.client, specs, nil)
}

// OpenQueryEngine opens an engine with other options.
func (s *Store) OpenQueryEngine(ctx context.Context, client *dynamodb.Client, specs []driver.TableSpec, opts *queryengine.Options) (*queryengine.Engine, error) {
	if opts == nil {
		opts = &queryengine.Options{}
	}
	opts.Now = s.Now
	tables := make([]queryengine.Table, len(specs))
	for i, spec := range specs {
		if err := s.deploy(ctx, spec); err != nil {
			return nil, err
		}
		tables[i] = queryengine.Table{Spec: spec, Name: s.Table("rows", spec.Name)}
	}
	return queryengine.Open(client, tables, opts)
}

func (s *Store) deploy(ctx context.Context, spec driver.TableSpec) error {
	s.deploying.Lock()
	defer s.deploying.Unlock()
	s.mu.Lock()
	old, found := s.specs[spec.Name]
	s.specs[spec.Name] = spec
	s.mu.Unlock()
	if found && reflect.DeepEqual(old, spec) {
		return nil
	}
	table, markTable := s.Table("rows", spec.Name), s.Table("marks", spec.Name)
	if !found {
		if err := s.Create(ctx, Rows(table, spec)); err != nil || spec.OwnRow {
			return err
		}
		return s.Create(ctx, Marks(markTable))
	}
	for _, index := range spec.Indexes {
		if slices.ContainsFunc(old.Indexes, func(i driver.Index) bool { return i.Name == index.Name }) {
			continue
		}
		_, err := s.client.UpdateTable(ctx, AddIndex(table, index))
		for n := 0; n < 10 && errors.Is(dynamo.Classify(err), driver.ErrUnavailable); n++ { // as it is with await
			_, err = s.client.UpdateTable(ctx, AddIndex(table, index))
		}
		if err := errors.Join(err, s.await(ctx, table)); err != nil {
			return err
		}
	}
	db, err := querydb.Open(s.client, table, markTable, spec, &querydb.Options{Now: s.Now})
	if err != nil {
		return err
	}
	return db.Reindex(ctx)
}

// Create makes a table unless it is there.
func (s *Store) Create(ctx context.Context, in *dynamodb.CreateTableInput) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[*in.TableName] {
		return nil
	}
	if _, err := s.client.CreateTable(ctx, in); err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	s.made[*in.TableName] = true
	s.t.Cleanup(func() { //nolint:contextcheck // the test's context has ended by then
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		var gone *types.ResourceNotFoundException
		if _, err := s.client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: in.TableName}); err != nil && !errors.As(err, &gone) {
			s.t.Errorf("delete table: %v", err)
		}
	})
	return s.await(ctx, *in.TableName)
}

// await waits until a table and its indexes can be used.
func (s *Store) await(ctx context.Context, table string) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for range 3000 {
		out, err := s.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
		// The emulator fails at times while it makes an index.
		if err != nil && !errors.Is(dynamo.Classify(err), driver.ErrUnavailable) {
			return err
		}
		if err == nil && active(out.Table) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
	return errors.New("table " + table + " does not become active")
}

func active(table *types.TableDescription) bool {
	ready := table.TableStatus == types.TableStatusActive
	for _, index := range table.GlobalSecondaryIndexes {
		ready = ready && index.IndexStatus == types.IndexStatusActive
	}
	return ready
}

// PutItem puts an item into the table of a read model, past the driver.
func (s *Store) PutItem(ctx context.Context, spec driver.TableSpec, id string, rest map[string]types.AttributeValue) error {
	item := map[string]types.AttributeValue{rowtable.ID: &types.AttributeValueMemberS{Value: id}}
	for name, v := range rest {
		item[name] = v
	}
	_, err := s.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(s.Table("rows", spec.Name)), Item: item})
	return err
}
