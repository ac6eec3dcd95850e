package driver

import (
	"context"
	"strconv"
	"time"
)

// Envelope is a commit with the name of its log.
type Envelope struct {
	// Log is the logical name of the log.
	Log string `json:"log"`
	// Commit is the commit, without its snapshot.
	Commit Commit `json:"commit"`
}

// EventTopic publishes commits to any number of subscribers.
type EventTopic interface {
	// Publish delivers each envelope durably to every subscription that existed
	// when the topic was opened, in order per (log, stream). An envelope that was
	// published within the last five minutes (same log, stream and sequence number)
	// is accepted again and may or may not be delivered again.
	//
	// If some envelopes are refused, the others are published and the error is a
	// *[BatchError] keyed by [Envelope.Key]. For an empty batch Publish returns nil.
	Publish(ctx context.Context, envelopes []Envelope) error
}

// Record is the delivery of a commit to a consumer, by the receiver that
// [Sources].OpenEventCollector opens or by the host of a function. Records are
// grouped by log and stream.
//
// First deliveries of a stream are in the order of the log. A retry may deliver
// settled records again, before or after the retried one. A source may drop or
// repeat records: the engine compares sequence numbers and, if one is missing, reads
// the log.
type Record struct {
	// Log, Stream and SequenceNr identify the commit.
	Log        string
	Stream     string
	SequenceNr uint64
	// Commit is the commit itself. It is nil if the record does not include it; the
	// consumer then reads it from the log.
	Commit *Commit
	// Raw and Err are set on a record that could not be decoded; all other
	// fields may then be empty.
	Raw []byte
	Err error
}

// Source identifies the source of a collector.
type Source struct {
	// Log is the logical name of the log.
	Log string
	// Topic selects the log's EventTopic instead of its change feed.
	Topic bool
}

// CollectorSpec identifies an event collector.
type CollectorSpec struct {
	// Consumer is the logical name of the consuming component, or of the relay that
	// feeds a topic. Consumer and Source together identify the durable checkpoint of
	// the collector. A known collector continues at its checkpoint. A new one starts
	// at the first commit of the log; of a topic, at the first commit published
	// after the subscription was created.
	Consumer string
	Source   Source
}

// TopicSpec identifies an event topic and its subscriptions.
type TopicSpec struct {
	// Log is the logical name of the log that feeds the topic.
	Log string
	// Subscribers are the consumers, as in [CollectorSpec].
	Subscribers []string
}

// Key returns the key of the commit in a [BatchError]: log, stream and sequence
// number.
func (e Envelope) Key() string {
	return e.Log + "/" + e.Commit.Stream + "/" + strconv.FormatUint(e.Commit.SequenceNr, 10)
}

// Lagger is an optional interface of an event collector that can measure its lag.
type Lagger interface {
	// Lag returns the commits that are not settled, leased or not, at some moment
	// during the call. It may include settled commits that follow the oldest
	// unsettled one. If all commits are settled, it is zero.
	Lag(ctx context.Context) (Lag, error)
}

// Lag is the lag of a consumer.
type Lag struct {
	// Commits is the number of commits that are not settled.
	Commits int64
	// Oldest is when the oldest of them was stored; zero if all are settled.
	Oldest time.Time
}

// CommitCounter is an optional interface of an [EventLog] that can count its commits.
type CommitCounter interface {
	// CountCommits returns the number of commits of all streams, of every Append that
	// returned before.
	CountCommits(ctx context.Context) (int64, error)
}
