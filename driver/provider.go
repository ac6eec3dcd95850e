package driver

import "context"

// Provider opens the drivers of one place. Opening the same name twice returns
// drivers over the same data. Open methods create what does not exist only
// where the provider creates resources at run time (memory, SQLite); elsewhere
// a missing resource is [ErrUnavailable]: a deployment may still be making it, and
// it says nothing about what was to be done with it.
type Provider interface {
	// OpenEventLog opens the log of a component.
	OpenEventLog(ctx context.Context, name string) (EventLog, error)
	// OpenCommandTopic opens the command queue of a component.
	OpenCommandTopic(ctx context.Context, name string) (CommandTopic, error)
	// OpenEventTopic opens the topic of a log and makes its subscriptions.
	OpenEventTopic(ctx context.Context, spec TopicSpec) (EventTopic, error)
	// OpenEventCollector opens the collector of a consumer.
	OpenEventCollector(ctx context.Context, spec CollectorSpec) (EventCollector, error)
	// OpenCheckpoints opens the positions of a consumer that is no read model.
	OpenCheckpoints(ctx context.Context, consumer string) (Checkpoints, error)
	// OpenQueryDb opens the store of a read model. A spec that differs from the
	// stored one (a new index) is brought about before it returns.
	OpenQueryDb(ctx context.Context, spec TableSpec) (QueryDb, error)
	// OpenQueryEngine opens the query side of read models.
	OpenQueryEngine(ctx context.Context, specs []TableSpec) (QueryEngine, error)
	// OpenStateTopic opens the changes of a read model.
	OpenStateTopic(ctx context.Context, spec TableSpec) (StateTopic, error)
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
	// method of its drivers returns [ErrUnavailable]. A second call is nil.
	Close() error
}

// Limits are the sizes in which providers may differ.
type Limits struct {
	// MaxCommitBytes bounds a stored commit with its snapshot.
	MaxCommitBytes int
	// MaxCommandBytes bounds a queued command.
	MaxCommandBytes int
	// MaxRowBytes bounds a row.
	MaxRowBytes int
	// MaxStep bounds the writes and advances of one [Step] together.
	MaxStep int
	// MaxFeedReaders bounds the consumers that read one log's change feed
	// directly; 0 is unbounded. Further ones read through the topic.
	MaxFeedReaders int
}

// Notifier is an optional interface of a provider that knows at once when
// something has become available; hosts poll those that do not have it.
type Notifier interface {
	// Notify calls f after every change that may let a Receive return more than
	// before; what names the receiver, made by [ReceiverOf]. f does not block.
	// The returned function stops the calls.
	Notify(f func(receiver string)) (stop func())
}

// ReceiverOf names a receiver for [Notifier]: kind is the open method's name
// without Open, name the argument's (for a collector its log; empty where there
// is none).
func ReceiverOf(kind, name string) string { return kind + "/" + name }
