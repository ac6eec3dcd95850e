// Package provider opens the drivers of an application on AWS. It computes the names of the
// resources from the application, the stack and the component, and sends no requests before
// a driver is used.
//
// It does not implement [driver.Sources] because Lambda delivers messages to functions.
package provider

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/commandtopic"
	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/deadletters"
	"github.com/reventless-go/reventless/aws/eventlog"
	"github.com/reventless-go/reventless/aws/eventtopic"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/aws/outcomes"
	"github.com/reventless-go/reventless/aws/querydb"
	"github.com/reventless-go/reventless/aws/queryengine"
	"github.com/reventless-go/reventless/aws/scheduledpublisher"
	"github.com/reventless-go/reventless/aws/task"
	"github.com/reventless-go/reventless/aws/watermarks"
	"github.com/reventless-go/reventless/driver"
)

// Options configure a [Provider].
type Options struct {
	// App, Stack and Account, the id of the account, are parts of the names.
	App, Stack, Account string
	// AWS is the configuration of the clients, including the region.
	AWS aws.Config
	// Endpoint returns the endpoint of a service by its name in the variables of the SDKs,
	// such as "DYNAMODB". A nil Endpoint or result means the endpoint of AWS.
	Endpoint func(service string) *string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Spent receives the consumed capacity of each request to DynamoDB; it may be nil.
	Spent func(operation string, c *types.ConsumedCapacity)
	// Parked is called after each dead letter that was parked; it may be nil.
	Parked func()
}

// Provider opens the drivers of one stack.
type Provider struct {
	opts   Options
	names  naming.Stack
	closed *atomic.Bool

	dynamoDB  *dynamodb.Client
	sqs       *sqs.Client
	sns       *sns.Client
	s3        *s3.Client
	scheduler *scheduler.Client
}

var _ driver.Provider = (*Provider)(nil)

// New returns the provider of a stack.
func New(opts Options) (*Provider, error) {
	names, err := naming.New(opts.App, opts.Stack)
	if err != nil {
		return nil, err
	}
	if opts.Account == "" || opts.AWS.Region == "" {
		return nil, fmt.Errorf("provider: the account %q and the region %q must not be empty: %w", opts.Account, opts.AWS.Region, driver.ErrInvalid)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Spent == nil {
		opts.Spent = func(string, *types.ConsumedCapacity) {}
	}
	p := &Provider{opts: opts, names: names, closed: new(atomic.Bool)}
	cfg := opts.AWS.Copy()
	next := cfg.HTTPClient
	if next == nil {
		next = http.DefaultClient
	}
	cfg.HTTPClient = gate{next, p.closed}
	at := func(service string) aws.Config {
		cfg := cfg
		if opts.Endpoint != nil {
			if url := opts.Endpoint(service); url != nil {
				cfg.BaseEndpoint = url
			}
		}
		return cfg
	}
	p.dynamoDB = dynamodb.NewFromConfig(at("DYNAMODB"))
	p.sqs = sqs.NewFromConfig(at("SQS"))
	p.sns = sns.NewFromConfig(at("SNS"))
	p.s3 = s3.NewFromConfig(at("S3"), func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }) // the host name of a bucket may not resolve at other endpoints
	p.scheduler = scheduler.NewFromConfig(at("SCHEDULER"))
	return p, nil
}

// gate refuses requests after it was closed.
type gate struct {
	next   aws.HTTPClient
	closed *atomic.Bool
}

// Do implements [aws.HTTPClient].
func (g gate) Do(r *http.Request) (*http.Response, error) {
	if g.closed.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	}
	return g.next.Do(r)
}

// Limits implements [driver.Provider].
func (p *Provider) Limits() driver.Limits {
	return driver.Limits{
		MaxCommitBytes: eventlog.MaxCommitBytes, MaxCommandBytes: commandtopic.MaxCommandBytes, MaxRowBytes: querydb.MaxRowBytes,
		MaxStep: querydb.MaxStep, MaxFeedReaders: wiring.MaxFeedReaders,
	}
}

// Close implements [driver.Provider]. Running requests continue.
func (p *Provider) Close() error {
	p.closed.Store(true)
	return nil
}

// OpenEventLog implements [driver.Provider].
func (p *Provider) OpenEventLog(_ context.Context, name string) (driver.EventLog, error) {
	table, err := p.names.Name(naming.Log, name)
	if err != nil {
		return nil, err
	}
	return eventlog.Open(p.dynamoDB, table, &eventlog.Options{Now: p.opts.Now, Spent: p.opts.Spent}), nil
}

// OpenCommandTopic implements [driver.Provider].
func (p *Provider) OpenCommandTopic(_ context.Context, name string) (driver.CommandTopic, error) {
	queue, err := p.names.Name(naming.Commands, name)
	if err != nil {
		return nil, err
	}
	return commandtopic.Open(p.sqs, p.QueueURL(queue)), nil
}

// OpenEventTopic implements [driver.Provider]. The deployment creates the subscriptions.
func (p *Provider) OpenEventTopic(_ context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	topic, err := p.names.Name(naming.Events, spec.Log)
	if err != nil {
		return nil, err
	}
	return eventtopic.Open(p.sns, p.ARN("sns", topic), nil), nil
}

// OpenWatermarks implements [driver.Provider].
func (p *Provider) OpenWatermarks(_ context.Context, consumer string) (driver.Watermarks, error) {
	table, err := p.names.Name(naming.Watermarks, consumer)
	if err != nil {
		return nil, err
	}
	return watermarks.Open(p.dynamoDB, table, &watermarks.Options{Spent: p.opts.Spent}), nil
}

// OpenQueryDb implements [driver.Provider]. The deployment applies changes of the spec.
func (p *Provider) OpenQueryDb(_ context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	rows, err := p.names.Name(naming.Rows, spec.Name)
	watermarksTable := ""
	if err == nil && !spec.OwnRow {
		watermarksTable, err = p.names.Name(naming.Watermarks, spec.Name)
	}
	if err != nil {
		return nil, err
	}
	return querydb.Open(p.dynamoDB, rows, watermarksTable, spec, &querydb.Options{Now: p.opts.Now, Spent: p.opts.Spent})
}

// OpenQueryEngine implements [driver.Provider].
func (p *Provider) OpenQueryEngine(_ context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	tables := make([]queryengine.Table, len(specs))
	for i, spec := range specs {
		name, err := p.names.Name(naming.Rows, spec.Name)
		if err != nil {
			return nil, err
		}
		tables[i] = queryengine.Table{Spec: spec, Name: name}
	}
	return queryengine.Open(p.dynamoDB, tables, &queryengine.Options{Now: p.opts.Now, Spent: p.opts.Spent})
}

// OpenCounter implements [driver.Provider].
func (p *Provider) OpenCounter(_ context.Context, name string) (driver.Counter, error) {
	return p.Counter(name)
}

// Counter opens a counter.
func (p *Provider) Counter(name string) (*counter.Counter, error) {
	refs, err := p.names.Name(naming.Refs, name)
	if err != nil {
		return nil, err
	}
	counts, err := p.names.Name(naming.Counts, name)
	if err != nil {
		return nil, err
	}
	return counter.Open(p.dynamoDB, refs, counts, &counter.Options{Now: p.opts.Now, Spent: p.opts.Spent}), nil
}

// OpenScheduler implements [driver.Provider].
func (p *Provider) OpenScheduler(context.Context) (driver.Scheduler, error) { return p.Scheduler() }

// Scheduler opens the schedules.
func (p *Provider) Scheduler() (*scheduledpublisher.Scheduler, error) {
	var names [4]string
	for i, kind := range []naming.Kind{naming.Schedules, naming.Timers, naming.TimersDLQ, naming.SchedulerRole} {
		var err error
		if names[i], err = p.names.Name(kind, ""); err != nil {
			return nil, err
		}
	}
	return scheduledpublisher.Open(p.scheduler, p.sqs, scheduledpublisher.Target{
		Group: names[0], Queue: p.QueueURL(names[1]), QueueARN: p.ARN("sqs", names[1]), DeadLettersARN: p.ARN("sqs", names[2]),
		RoleARN: "arn:" + p.partition() + ":iam::" + p.opts.Account + ":role/" + names[3],
	}, p.opts.Now), nil
}

// OpenBucket implements [driver.Provider].
func (p *Provider) OpenBucket(_ context.Context, name string) (driver.Bucket, error) {
	bucket, err := p.names.BucketName(naming.Bucket, name, p.opts.Account)
	if err != nil {
		return nil, err
	}
	return task.Open(p.s3, bucket), nil
}

// OpenDeadLetters implements [driver.Provider].
func (p *Provider) OpenDeadLetters(context.Context) (driver.DeadLetters, error) {
	table, err := p.names.Name(naming.DeadLetters, "")
	if err != nil {
		return nil, err
	}
	letters := deadletters.Open(p.dynamoDB, table, &deadletters.Options{Spent: p.opts.Spent})
	if p.opts.Parked == nil {
		return letters, nil
	}
	return reportedDeadLetters{letters, p.opts.Parked}, nil
}

// reportedDeadLetters calls parked after every dead letter that is parked.
type reportedDeadLetters struct {
	driver.DeadLetters
	parked func()
}

func (l reportedDeadLetters) Park(ctx context.Context, letter driver.DeadLetter) error {
	err := l.DeadLetters.Park(ctx, letter)
	if err == nil {
		l.parked()
	}
	return err
}

// OpenOutcomes implements [driver.Provider].
func (p *Provider) OpenOutcomes(context.Context) (driver.Outcomes, error) {
	table, err := p.names.Name(naming.Outcomes, "")
	if err != nil {
		return nil, err
	}
	return outcomes.Open(p.dynamoDB, table, &outcomes.Options{Now: p.opts.Now, Spent: p.opts.Spent}), nil
}

// SQS returns the client of the queues.
func (p *Provider) SQS() *sqs.Client { return p.sqs }

// Name returns the physical name of a resource; see [naming.Stack.Name].
func (p *Provider) Name(kind naming.Kind, subject string) (string, error) {
	return p.names.Name(kind, subject)
}

// QueueURL returns the URL of a queue. It computes the URL because a lookup needs a request
// and a permission.
func (p *Provider) QueueURL(queue string) string {
	domain := "amazonaws.com"
	if p.partition() == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	return "https://sqs." + p.opts.AWS.Region + "." + domain + "/" + p.opts.Account + "/" + queue
}

// ARN returns the ARN of a queue or topic.
func (p *Provider) ARN(service, name string) string {
	return "arn:" + p.partition() + ":" + service + ":" + p.opts.AWS.Region + ":" + p.opts.Account + ":" + name
}

// partition returns the partition of the region.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func (p *Provider) partition() string {
	switch {
	case strings.HasPrefix(p.opts.AWS.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(p.opts.AWS.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
