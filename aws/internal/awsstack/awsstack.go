// Package awsstack is a provider of the drivers of AWS over the emulators, for tests
// of the engine: tables on DynamoDB Local, queues and topics on MiniStack. What a
// deployment makes is made when it is opened. Counters, schedules and buckets are in
// memory.
package awsstack

import (
	"context"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/commandtopic"
	"github.com/reventless-go/reventless/aws/deadletters"
	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/eventlog"
	"github.com/reventless-go/reventless/aws/eventtopic"
	"github.com/reventless-go/reventless/aws/internal/awsqueues"
	"github.com/reventless-go/reventless/aws/internal/awstables"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/outcomes"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// Stack is what one test keeps in the emulators.
type Stack struct {
	Tables *awstables.Store
	Queues *awsqueues.Store
	// FeedReaders is how many consumers may read the stream of a log; where there are
	// more they read its topic. 0 is any number, which only an emulator takes.
	FeedReaders int
}

// New returns an empty stack. The queues hold messages for visibility.
func New(t testing.TB, visibility time.Duration) *Stack {
	t.Helper()
	return &Stack{
		Tables: awstables.NewStore(t, awstest.DynamoDB(t).Clients(nil).DynamoDB, awstest.Stack()),
		Queues: awsqueues.NewStore(awstest.MiniStack(t).Clients(nil), visibility),
	}
}

// Provider is one process of a stack.
type Provider struct {
	driver.Provider // what is not of AWS
	stack           *Stack
	rows            driver.Provider
	tables, queues  *awstest.Clients
	now             func() time.Time
}

// Provider returns a process over clients of both emulators. Its clock is now.
func (s *Stack) Provider(tables, queues *awstest.Clients, now func() time.Time) *Provider {
	return &Provider{
		Provider: memory.New(nil), stack: s, rows: s.Tables.Fixture(tables.DynamoDB).Provider,
		tables: tables, queues: queues, now: now,
	}
}

// Limits are those of AWS, but for the readers of a log's feed.
func (p *Provider) Limits() driver.Limits {
	l := p.rows.Limits()
	l.MaxCommitBytes, l.MaxCommandBytes, l.MaxFeedReaders = eventlog.MaxCommitBytes, commandtopic.MaxCommandBytes, p.stack.FeedReaders
	return l
}

// LogTable returns the table of a log.
func (s *Stack) LogTable(ctx context.Context, name string) (string, error) {
	table := s.Tables.Table("log", name)
	return table, s.Tables.Create(ctx, awstables.Log(table))
}

// OpenEventLog opens the log of a component.
func (p *Provider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	table, err := p.stack.LogTable(ctx, name)
	return eventlog.Open(p.tables.DynamoDB, table, &eventlog.Options{Now: p.now}), err
}

// OpenCommandTopic opens the queue of a component.
func (p *Provider) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	url, _, err := p.stack.Queues.Queue(ctx, p.stack.Queues.Name("commands", name))
	return commandtopic.Open(p.queues.SQS, url, nil), err
}

// OpenEventTopic opens the topic of a log and makes its subscriptions.
func (p *Provider) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	queues := p.stack.Queues
	arn, err := queues.Topic(ctx, queues.Name("events", spec.Log), true)
	if err != nil {
		return nil, err
	}
	for _, consumer := range spec.Subscribers {
		queue := queues.Name("collector", consumer+"@"+spec.Log)
		_, made, err := queues.Queue(ctx, queue)
		if err == nil && made {
			err = queues.Subscribe(ctx, arn, queue, map[string]string{"RawMessageDelivery": "true"})
		}
		if err != nil {
			return nil, err
		}
	}
	return eventtopic.Open(p.queues.SNS, arn, nil), nil
}

// OpenEventCollector opens the collector of a consumer, on the stream of the log or
// on the queue behind its topic.
func (p *Provider) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.EventCollector, error) {
	if spec.Source.Topic {
		queue := p.stack.Queues.Name("collector", spec.Consumer+"@"+spec.Source.Log)
		return eventcollector.OpenQueue(p.queues.SQS, queue, spec.Source.Log, nil), nil
	}
	table, err := p.stack.LogTable(ctx, spec.Source.Log)
	if err != nil {
		return nil, err
	}
	positions := p.stack.Tables.Table("positions", "")
	if err := p.stack.Tables.Create(ctx, awstables.Positions(positions)); err != nil {
		return nil, err
	}
	return eventcollector.OpenStream(p.tables.DynamoDB, p.tables.Streams, table, positions, spec, &eventcollector.StreamOptions{Interval: 5 * time.Millisecond, Now: p.now})
}

// OpenCheckpoints opens the positions of a consumer.
func (p *Provider) OpenCheckpoints(ctx context.Context, consumer string) (driver.Checkpoints, error) {
	return p.rows.OpenCheckpoints(ctx, consumer)
}

// OpenQueryDb opens the rows of a read model.
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	return p.rows.OpenQueryDb(ctx, spec)
}

// OpenQueryEngine opens the query side of read models.
func (p *Provider) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	return p.rows.OpenQueryEngine(ctx, specs)
}

// OpenDeadLetters opens the dead letters.
func (p *Provider) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	table := p.stack.Tables.Table("letters", "")
	return deadletters.Open(p.tables.DynamoDB, table, nil), p.stack.Tables.Create(ctx, awstables.Letters(table))
}

// OpenOutcomes opens the outcomes.
func (p *Provider) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	table := p.stack.Tables.Table("outcomes", "")
	return outcomes.Open(p.tables.DynamoDB, table, &outcomes.Options{Now: p.now}), p.stack.Tables.Create(ctx, awstables.Outcomes(table))
}
