package driver

import "context"

// Provider opens the sending ends of an application's queues and topics, and its
// stores. Messages reach the application in one of two ways: a host pulls them from
// [Sources], or the platform invokes a function with them, as AWS does.
//
// Opening the same name twice returns drivers over the same data. Open methods create
// missing resources only if the provider creates resources at run time (memory,
// SQLite). For other providers a missing resource is [ErrUnavailable]: a deployment
// may still be creating it.
type Provider interface {
	// OpenEventLog opens the log of a component.
	OpenEventLog(ctx context.Context, name string) (EventLog, error)
	// OpenCommandTopic opens the command queue of a component.
	OpenCommandTopic(ctx context.Context, name string) (CommandTopic, error)
	// OpenEventTopic opens the topic of a log and creates its subscriptions.
	OpenEventTopic(ctx context.Context, spec TopicSpec) (EventTopic, error)
	// OpenWatermarks opens the watermarks of a consumer that is not a read model.
	OpenWatermarks(ctx context.Context, consumer string) (Watermarks, error)
	// OpenQueryDb opens the store of a read model. If spec differs from the stored
	// one (such as by a new index), it changes the store before it returns.
	OpenQueryDb(ctx context.Context, spec TableSpec) (QueryDb, error)
	// OpenQueryEngine opens the queries of read models.
	OpenQueryEngine(ctx context.Context, specs []TableSpec) (QueryEngine, error)
	// OpenCounter opens the stores of a counter component.
	OpenCounter(ctx context.Context, name string) (Counter, error)
	// OpenScheduler opens the schedules of the application.
	OpenScheduler(ctx context.Context) (Scheduler, error)
	// OpenBucket opens a bucket.
	OpenBucket(ctx context.Context, name string) (Bucket, error)
	// OpenDeadLetters opens the dead letters of the application.
	OpenDeadLetters(ctx context.Context) (DeadLetters, error)
	// OpenOutcomes opens the outcomes of the application.
	OpenOutcomes(ctx context.Context) (Outcomes, error)
	// Limits returns the provider's limits.
	Limits() Limits
	// Close waits for running calls and releases the provider; afterwards every
	// method of its drivers returns [ErrUnavailable]. A second Close returns nil.
	Close() error
}

// Limits are the limits in which providers may differ.
type Limits struct {
	// MaxCommitBytes bounds a stored commit including its snapshot.
	MaxCommitBytes int
	// MaxCommandBytes bounds a queued command.
	MaxCommandBytes int
	// MaxRowBytes bounds a row.
	MaxRowBytes int
	// MaxStep bounds the writes and advances of one [Step] together.
	MaxStep int
	// MaxFeedReaders bounds the consumers that read one log's change feed
	// directly; 0 means no bound. Further consumers read the log's topic.
	MaxFeedReaders int
}

// PullProvider is a provider from which a host pulls messages. The embedded
// providers are of this kind.
type PullProvider interface {
	Provider
	Sources
}

// Sources opens the receiving ends of the queues and topics of a [Provider]. Opening
// the same name twice returns receivers that share one set of messages and leases.
type Sources interface {
	// OpenCommandReceiver opens the command queue of a component.
	OpenCommandReceiver(ctx context.Context, name string) (Receiver[Command], error)
	// OpenEventCollector opens the records of a log or topic for one consumer.
	OpenEventCollector(ctx context.Context, spec CollectorSpec) (Receiver[Record], error)
	// OpenCounterReceiver opens the targets that counters of a component reach.
	OpenCounterReceiver(ctx context.Context, name string) (Receiver[CounterFinished], error)
	// OpenScheduleReceiver opens the firings of the application's schedules.
	OpenScheduleReceiver(ctx context.Context) (Receiver[Firing], error)
	// OpenBucketReceiver opens the changes of a bucket's objects. Without a receiver,
	// changes are not kept: the first receiver of a bucket starts with the objects that
	// exist, as created.
	OpenBucketReceiver(ctx context.Context, name string) (Receiver[ObjectEvent], error)
	// OpenStateTopic opens the changes of a read model's rows.
	OpenStateTopic(ctx context.Context, spec TableSpec) (StateTopic, error)
	// Notify calls f after every change that may make messages available.
	// receiver is the name of the receiver, see [ReceiverOf]. f must not block. stop
	// ends the calls.
	Notify(f func(receiver string)) (stop func())
}

// ReceiverOf returns the name of a receiver for [Sources].Notify. kind is
// "CommandTopic", "EventCollector", "Counter", "Scheduler" or "Bucket"; name is the
// argument of its open method: the log for a collector, empty for the scheduler.
func ReceiverOf(kind, name string) string { return kind + "/" + name }

// DamageFinder is an optional interface of a provider that finds damage outside of calls,
// such as by a check in the background, or in calls that succeed without what is damaged.
type DamageFinder interface {
	// NotifyDamage calls f for each [ErrDamaged] that no call returns, beginning with what
	// was found before, until stop is called. f must not call the provider.
	NotifyDamage(f func(error)) (stop func())
}
