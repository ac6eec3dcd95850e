// Package lambdarunner runs Lambda functions on this machine, for tests: the
// binary that would be deployed, in processes that ask the Runtime API for work,
// and event source mappings that feed it from SQS queues and DynamoDB streams.
//
// It is made to be no kinder than Lambda: messages and records come again whenever
// an answer was not taken, a stream goes on at the lowest record that failed, a
// process is frozen between two invocations, killed when its time is over, and
// replaced when it panicked. [Faults] add what happens in the cloud now and then.
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
	// Seed is that of all faults. They repeat with it as far as the order does in
	// which the invocations of a function begin.
	Seed uint64
	// Faults are what goes wrong; the zero value is nothing.
	Faults Faults
	// Binary is the path of the bootstrap.
	Binary string
	// Env is the environment of every function, as KEY=VALUE, beside the variables
	// that Lambda sets. Nothing is inherited from this process.
	Env []string
	// SQS is where queues are polled, Streams where tables' streams are. Each may be
	// nil if nothing is mapped that needs it.
	SQS     *sqs.Client
	Streams *dynamodbstreams.Client
	// Region and Account are those of ARNs and of the functions' environment.
	Region, Account string
	// Log gets what the functions print and what the runner has to tell, line by
	// line with the function's name in front; nil is nowhere.
	Log io.Writer
}

// Faults are probabilities, 0 to 1, that an invocation meets with a fault.
type Faults struct {
	// Duplicate hands a batch over again although it was answered: messages come
	// from the queue once more, which counts as a receive; a stream does not go on.
	Duplicate float64
	// LoseAnswer throws the function's answer away: the invocation counts as failed
	// although it had its effects.
	LoseAnswer float64
	// Kill kills the process at some moment of the invocation, at the latest when it
	// has answered.
	Kill float64
	// Recycle replaces the process before the invocation, which starts cold.
	Recycle float64
	// Throttle refuses the invocation before it begins. A receive was used up, a
	// stream's retry was not.
	Throttle float64
	// Shuffle splits streams into several shards by the items' full keys, as DynamoDB
	// may, cuts batches anywhere, and delivers shards in any order among each other.
	// It shuffles the messages of standard queues.
	Shuffle bool
}

// Function is a function: one environment of variables for the binary.
type Function struct {
	Name string
	// Env is added to that of the options. Lambda takes 4 KB of it.
	Env []string
	// Timeout is that of one invocation; 0 is 30 seconds.
	Timeout time.Duration
	// Memory, in MB, is only told to the function; 0 is 256.
	Memory int
	// Concurrency is how many processes it has at most, each with one invocation at
	// a time; 0 is 2.
	Concurrency int
	// Handler, unless it is nil, handles the invocations in this process, in place of
	// processes of the binary. Of the faults it meets with those of answers alone.
	Handler func(ctx context.Context, payload []byte) ([]byte, error)
}

// Stats tell what came of one function's invocations.
type Stats struct {
	// Invocations were handed to a process, Failures of them had no answer that was
	// taken, or an error.
	Invocations, Failures int
	// Timeouts ran out of time, Exits are processes that ended by themselves.
	Timeouts, Exits int
	// Those that the runner caused.
	Duplicates, LostAnswers, Kills, Recycles, Throttles int
	// ColdStarts are processes that were started; Init is, for each that got so far,
	// the time from its start to its first request for work.
	ColdStarts int
	Init       []time.Duration
	// Busy is the time of all invocations, from the hand-over to the answer.
	Busy time.Duration
}

// ErrClosed is the error of invocations once the runner is being closed.
var ErrClosed = errors.New("lambdarunner: closed")

// ErrThrottled is the error of invocations that [Faults] refused.
var ErrThrottled = errors.New("lambdarunner: too many requests")

// ErrAnswerLost is the error of invocations whose answer [Faults] threw away.
var ErrAnswerLost = errors.New("lambdarunner: the answer was lost")

// FunctionError is the error of an invocation that the function failed, or that it
// did not survive.
type FunctionError struct {
	Function string
	// Type and Message are what the function posted, or "Runtime.ExitError" and
	// "Sandbox.Timedout" of one that could not.
	Type, Message string
	// Payload is all of what it posted.
	Payload []byte
}

func (e *FunctionError) Error() string {
	return fmt.Sprintf("lambdarunner: function %s: %s: %s", e.Function, e.Type, e.Message)
}

// What Lambda allows.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxPayload = 6 << 20
	maxEnv     = 4 << 10
	maxTimeout = 900 * time.Second
)

// Real time is what processes and timeouts need.
var now = time.Now

// Runner runs functions.
type Runner struct {
	opts Options
	log  *log
	calm atomic.Bool // faults are off

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// Batches and invocations that are under way, and all that ever were: with both
	// at rest nothing happened in between.
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

// Function adds a function. Its processes are started when they are needed.
func (r *Runner) Function(f Function) error {
	if f.Timeout == 0 {
		f.Timeout = 30 * time.Second
	}
	if f.Memory == 0 {
		f.Memory = 256
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
		return fmt.Errorf("lambdarunner: function %s is there already", f.Name)
	case f.Timeout < 0 || f.Timeout > maxTimeout:
		return fmt.Errorf("lambdarunner: function %s: a timeout of %v", f.Name, f.Timeout)
	case f.Concurrency < 0:
		return fmt.Errorf("lambdarunner: function %s: %d processes", f.Name, f.Concurrency)
	case env > maxEnv:
		return fmt.Errorf("lambdarunner: function %s: an environment of %d bytes; Lambda takes %d", f.Name, env, maxEnv)
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

// Invoke invokes a function and waits for its answer. What the function posts as
// an error, and its end, is a [FunctionError]. When ctx ends the invocation goes on.
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

// Start begins to feed the functions from what is mapped to them.
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

// StopFaults ends all faults: from now on invocations meet with none.
func (r *Runner) StopFaults() { r.calm.Store(true) }

// Stats returns what came of the invocations so far, by function.
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

// Dropped returns what streams gave up, in the order in which they did.
func (r *Runner) Dropped() []Dropped {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.dropped)
}

// Close kills all processes and waits until everything has ended. What was under
// way stays in its queue, until its visibility timeout.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	for _, f := range r.functions { // there come no more
		f.close()
	}
	r.wg.Wait()
	r.log.flush()
	return nil
}

// spawn runs do beside, unless the runner is closed.
func (r *Runner) spawn(do func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.wg.Go(do)
	return true
}

// begin counts something as under way until the returned function is called.
func (r *Runner) begin() func() {
	r.busy.Add(1)
	r.begun.Add(1)
	return func() { r.busy.Add(-1) }
}

// kick has the streams polled soon: a function that worked may have written.
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

// pause waits for d, or for wake, which may be nil, and reports whether ctx goes on.
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
