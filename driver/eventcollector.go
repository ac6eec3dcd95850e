package driver

import (
	"context"
	"strconv"
	"time"
)

// Envelope is a commit with the log it lies in.
type Envelope struct {
	// Log is the logical name of the log.
	Log string `json:"log"`
	// Commit is the commit, without its snapshot.
	Commit Commit `json:"commit"`
}

// EventTopic publishes commits to any number of subscribers.
type EventTopic interface {
	// Publish hands each envelope to every subscription that existed when the
	// topic was opened, durably, in order per (log, stream). An envelope that
	// was published within the last five minutes (same log, stream and sequence
	// number) is accepted again and may or may not be delivered again.
	//
	// When some were refused and the others published the error is a
	// *[BatchError] keyed by [Envelope.Key]. An empty batch is nil.
	Publish(ctx context.Context, envelopes []Envelope) error
}

// Record is what an event collector delivers: the receiver that
// [Sources].OpenEventCollector opens, or the host of a function. Its groups are
// the streams of each log.
//
// For first deliveries the order within a stream is that of the log. A retry
// may deliver settled records again, before or after the retried one. A source
// may drop or repeat; the engine compares sequence numbers and, when one is
// missing, reads the log: a record only says that something happened.
type Record struct {
	// Log, Stream and SequenceNr say where the commit lies.
	Log        string
	Stream     string
	SequenceNr uint64
	// Commit is the commit itself; nil when it did not travel along and must be
	// read from the log.
	Commit *Commit
	// Raw and Err are set on a record that could not be decoded; all other
	// fields may then be empty.
	Raw []byte
	Err error
}

// Source names what a collector reads.
type Source struct {
	// Log is the logical name of the log.
	Log string
	// Topic reads the log's EventTopic in place of its change feed.
	Topic bool
}

// CollectorSpec names an event collector.
type CollectorSpec struct {
	// Consumer is the logical name of the component that consumes, or of the
	// relay that feeds a topic. With Source it identifies the collector's
	// durable checkpoint: the same spec continues where it stopped, a new one
	// starts at the first commit of the log, for a topic at the first commit
	// published after the subscription was made.
	Consumer string
	Source   Source
}

// TopicSpec names an event topic and its subscriptions.
type TopicSpec struct {
	// Log is the logical name of the log that feeds the topic.
	Log string
	// Subscribers are the consumers, as in [CollectorSpec].
	Subscribers []string
}

// Key names the commit in the maps of a [BatchError]: log, stream and sequence
// number.
func (e Envelope) Key() string {
	return e.Log + "/" + e.Commit.Stream + "/" + strconv.FormatUint(e.Commit.SequenceNr, 10)
}

// Lagger is an optional interface of an event collector that knows how far it
// is behind.
type Lagger interface {
	// Lag returns what is not settled yet, handed out or waiting, as of some
	// moment during the call. It may include settled commits that follow on the
	// oldest one that is not. When everything is settled it is zero.
	Lag(ctx context.Context) (Lag, error)
}

// Lag is how far a consumer is behind its source.
type Lag struct {
	// Commits is how many commits are not settled.
	Commits int64
	// Oldest is when the store took the oldest of them; zero when there is none.
	Oldest time.Time
}
