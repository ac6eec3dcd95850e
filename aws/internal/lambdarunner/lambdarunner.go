// Package lambdarunner runs Lambda functions locally for tests: the deployed binary in
// processes that poll the Runtime API, and event source mappings for SQS queues and
// DynamoDB streams.
//
// It must not be more lenient than Lambda. Messages and records are redelivered unless the
// answer was accepted. A stream continues at the first failed record. A process is frozen
// between two invocations, killed after its timeout and replaced after a panic. [Faults]
// add the occasional faults of the cloud.
//
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
package lambdarunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Options configure a [Runner].
type Options struct {
	// Seed determines all faults, as far as the invocations of a function begin in the
	// same order.
	Seed uint64
	// Faults are the injected faults; the zero value injects none.
	Faults Faults
	// Binary is the path of the bootstrap binary.
	Binary string
	// Env is the environment of every function, as KEY=VALUE, in addition to the
	// variables that Lambda sets. Functions do not inherit the environment of this process.
	Env []string
	// SQS polls queues, Streams polls the streams of tables. Each may be nil if no mapping
	// needs it.
	SQS     *sqs.Client
	Streams *dynamodbstreams.Client
	// Region and Account are used in ARNs and in the environment of functions.
	Region, Account string
	// Log receives the output of the functions and of the runner in lines that start with
	// the name of the function; nil discards them.
	Log io.Writer
}

// Faults are the probabilities, 0 to 1, of the faults of an invocation.
type Faults struct {
	// Duplicate delivers a batch again although it was answered. The queue counts another
	// receive of the messages; a stream does not advance.
	Duplicate float64
	// LoseAnswer discards the answer of the function: the invocation fails after its
	// effects.
	LoseAnswer float64
	// Kill kills the process at a random time during the invocation, at the latest when
	// it has answered.
	Kill float64
	// Freeze freezes the process at a random time during the invocation. The invocation
	// fails, so that another process receives the batch. The frozen process continues
	// later, in the middle of its requests.
	Freeze float64
	// Recycle replaces the process before the invocation, which becomes a cold start.
	Recycle float64
	// Throttle refuses the invocation before it begins. This counts as a receive of a
	// queue, but not as a retry of a stream.
	Throttle float64
	// Shuffle splits streams into shards by the full keys of items, as DynamoDB may,
	// delivers batches of random sizes and the shards in random order. It shuffles the
	// messages of standard queues.
	Shuffle bool
}

// Function is a function: the binary with an environment.
type Function struct {
	Name string
	// Env is added to the environment of the options. The limit of Lambda is 4 KB.
	Env []string
	// Timeout is the timeout of one invocation; 0 means 30 seconds.
	Timeout time.Duration
	// Concurrency is the maximum number of processes, each with one invocation at a time;
	// 0 means 2.
	Concurrency int
	// Handler, if not nil, handles the invocations in this process instead of processes
	// of the binary. It has only the faults of answers.
	Handler func(ctx context.Context, payload []byte) ([]byte, error)
}

// Stats counts the invocations of one function and their results.
type Stats struct {
	// Invocations were received by a process. Failures ended with an error or without an
	// accepted answer.
	Invocations, Failures int
	// Timeouts exceeded the timeout. Exits are processes that ended without a kill.
	Timeouts, Exits int
	// The injected faults.
	Duplicates, LostAnswers, Kills, Freezes, Recycles, Throttles int
	// ColdStarts is the number of started processes. Init has the time from the start of
	// a process to its first poll.
	ColdStarts int
	Init       []time.Duration
	// Busy is the total duration of all invocations.
	Busy time.Duration
}

// ErrClosed is the error of invocations of a closed runner.
var ErrClosed = errors.New("lambdarunner: closed")

// ErrThrottled is the error of invocations that [Faults] refused.
var ErrThrottled = errors.New("lambdarunner: too many requests")

// ErrAnswerLost is the error of invocations whose answer [Faults] discarded.
var ErrAnswerLost = errors.New("lambdarunner: the answer was lost")

// ErrFrozen is the error of invocations whose process [Faults] froze.
var ErrFrozen = errors.New("lambdarunner: the process is frozen")

// FunctionError is an error that the function posted, or the end of its process.
type FunctionError struct {
	Function string
	// Type and Message are posted by the function. If the process ended or timed out
	// instead, the type is "Runtime.ExitError" or "Sandbox.Timedout".
	Type, Message string
	// Payload is the posted text.
	Payload []byte
}

func (e *FunctionError) Error() string {
	return fmt.Sprintf("lambdarunner: function %s: %s: %s", e.Function, e.Type, e.Message)
}

// The limits of Lambda.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxPayload = 6 << 20
	maxEnv     = 4 << 10
	maxTimeout = 900 * time.Second
)

// Processes and timeouts need the real time.
var now = time.Now

// Runner runs functions.
type Runner struct {
	opts Options
	log  *log
	calm atomic.Bool // faults are off

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// The number of running batches and invocations, and of all that ever began: if both
	// are unchanged, nothing happened in between.
	busy, begun atomic.Int64

	mu        sync.Mutex
	started   bool
	closed    bool
	functions map[string]*function
	queues    []*queue
	streams   []*stream
	dropped   []Dropped
}

// New returns a runner without functions.
func New(opts Options) (*Runner, error) {
	binary, err := filepath.Abs(opts.Binary)
	if err != nil {
		return nil, fmt.Errorf("lambdarunner: %w", err)
	}
	opts.Binary = binary
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	r := &Runner{opts: opts, log: &log{to: opts.Log}, functions: map[string]*function{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Function adds a function. Its processes are started on demand.
func (r *Runner) Function(f Function) error {
	if f.Timeout == 0 {
		f.Timeout = 30 * time.Second
	}
	if f.Concurrency == 0 {
		f.Concurrency = 2
	}
	env := 0
	for _, v := range f.Env {
		env += len(v)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case f.Name == "" || len(f.Name) > 64:
		return fmt.Errorf("lambdarunner: function %q: a name has 1 to 64 characters", f.Name)
	case r.functions[f.Name] != nil:
		return fmt.Errorf("lambdarunner: function %s exists already", f.Name)
	case f.Timeout < 0 || f.Timeout > maxTimeout:
		return fmt.Errorf("lambdarunner: function %s: a timeout of %v", f.Name, f.Timeout)
	case f.Concurrency < 0:
		return fmt.Errorf("lambdarunner: function %s: %d processes", f.Name, f.Concurrency)
	case env > maxEnv:
		return fmt.Errorf("lambdarunner: function %s: an environment of %d bytes; the limit of Lambda is %d", f.Name, env, maxEnv)
	}
	r.functions[f.Name] = newFunction(r, f)
	return nil
}

func (r *Runner) function(name string) (*function, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.functions[name]
	if f == nil {
		return nil, fmt.Errorf("lambdarunner: there is no function %s", name)
	}
	return f, nil
}

// Invoke invokes a function and waits for its answer. An error that the function posts and
// the end of its process are a [FunctionError]. The invocation continues when ctx ends.
func (r *Runner) Invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	f, err := r.function(function)
	if err != nil {
		return nil, err
	}
	type result struct {
		body []byte
		err  error
	}
	done := make(chan result, 1)
	if !r.spawn(func() {
		defer r.begin()()
		if err := f.acquire(ctx); err != nil {
			done <- result{err: err}
			return
		}
		defer f.release()
		o := f.invoke(payload) //nolint:contextcheck // an invocation ends with the runner
		done <- result{o.body, o.err}
	}) {
		return nil, ErrClosed
	}
	select {
	case d := <-done:
		return d.body, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("lambdarunner: function %s: %w", function, ctx.Err())
	}
}

// Start starts the event source mappings.
func (r *Runner) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.closed {
		return
	}
	r.started = true
	for _, q := range r.queues {
		r.wg.Go(q.run)
	}
	for _, s := range r.streams {
		s.start()
	}
}

// StopFaults stops the injection of faults.
func (r *Runner) StopFaults() { r.calm.Store(true) }

// Stats returns the statistics by function.
func (r *Runner) Stats() map[string]Stats {
	r.mu.Lock()
	functions := maps.Clone(r.functions)
	r.mu.Unlock()
	all := make(map[string]Stats, len(functions))
	for name, f := range functions {
		f.mu.Lock()
		s := f.stats
		s.Init = slices.Clone(s.Init)
		f.mu.Unlock()
		all[name] = s
	}
	return all
}

// Dropped returns the batches that streams dropped, in order.
func (r *Runner) Dropped() []Dropped {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.dropped)
}

// Close kills all processes and waits until all goroutines have ended. Messages of running
// invocations stay in their queues.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	for _, f := range r.functions { // closed prevents new ones
		f.close()
	}
	r.wg.Wait()
	r.log.flush()
	return nil
}

// spawn runs do in a goroutine, unless the runner is closed.
func (r *Runner) spawn(do func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.wg.Go(do)
	return true
}

// begin counts a batch or invocation as running until the returned function is called.
func (r *Runner) begin() func() {
	r.busy.Add(1)
	r.begun.Add(1)
	return func() { r.busy.Add(-1) }
}

// kick wakes all streams: a function may have written to their tables.
func (r *Runner) kick() {
	r.mu.Lock()
	all := r.streams
	r.mu.Unlock()
	for _, s := range all {
		poke(s.wake)
	}
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// pause waits for d or for wake, which may be nil. It returns false if ctx has ended.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return ctx.Err() == nil
}
