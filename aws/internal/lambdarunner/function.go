package lambdarunner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// attempts is the number of processes that are started for an invocation if processes end
// before they receive it.
const attempts = 3

// function is a function with its processes.
type function struct {
	r *Runner
	Function
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	calls  uint64
	idle   []*environment // the most recently used one is the last
	all    map[*environment]bool
	mean   time.Duration // duration of an invocation
	stats  Stats
}

func newFunction(r *Runner, f Function) *function {
	return &function{r: r, Function: f, slots: make(chan struct{}, f.Concurrency), all: map[*environment]bool{}, mean: 10 * time.Millisecond}
}

// acquire waits until the concurrency of the function allows another invocation.
func (f *function) acquire(ctx context.Context) error {
	select {
	case f.slots <- struct{}{}:
		return nil
	case <-f.r.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("lambdarunner: function %s: %w", f.Name, ctx.Err())
	}
}

func (f *function) release() { <-f.slots }

// draws are the faults of one invocation.
type draws struct {
	duplicate, lose, kill, freeze, recycle, throttle bool
	moment                                           float64
}

// draw returns the faults of the next invocation. They depend on the seed, the function
// and the number of earlier invocations.
func (f *function) draw() draws {
	f.mu.Lock()
	f.calls++
	n := f.calls
	f.mu.Unlock()
	if f.r.calm.Load() {
		return draws{}
	}
	random := f.r.random(f.Name, n)
	p := f.r.opts.Faults
	return draws{
		duplicate: random.Float64() < p.Duplicate, lose: random.Float64() < p.LoseAnswer,
		kill: random.Float64() < p.Kill, moment: random.Float64(),
		recycle: random.Float64() < p.Recycle, throttle: random.Float64() < p.Throttle,
		freeze: random.Float64() < p.Freeze,
	}
}

// random returns the random numbers for the n-th item of a name.
func (r *Runner) random(name string, n uint64) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))                           // never fails
	return rand.New(rand.NewPCG(r.opts.Seed^h.Sum64(), n)) //nolint:gosec // faults have to be reproducible
}

// outcome is the result of an invocation.
type outcome struct {
	body []byte
	err  error
	// again is true if the batch is to be delivered again although it was answered.
	again bool
}

// invoke invokes the function. The caller has called acquire.
func (f *function) invoke(payload []byte) outcome {
	d := f.draw()
	body, err := f.run(payload, d)
	f.r.kick()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && !errors.Is(err, ErrThrottled) {
		f.stats.Failures++
	}
	return outcome{body, err, d.duplicate && err == nil}
}

func (f *function) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
}

func (f *function) run(payload []byte, d draws) ([]byte, error) {
	switch {
	case d.throttle:
		f.count(&f.stats.Throttles)
		return nil, ErrThrottled
	case len(payload) > maxPayload:
		return nil, fmt.Errorf("lambdarunner: function %s: a payload of %d bytes; the limit of Lambda is %d", f.Name, len(payload), maxPayload)
	case !json.Valid(payload):
		return nil, fmt.Errorf("lambdarunner: function %s: the payload is not JSON", f.Name)
	}
	if f.Handler != nil {
		return f.runHere(payload, d)
	}
	if d.recycle {
		if e := f.pop(); e != nil {
			f.count(&f.stats.Recycles)
			e.end()
		}
	}
	for attempt := 1; ; attempt++ {
		e, err := f.environment()
		if err != nil {
			return nil, err
		}
		inv := &invocation{id: requestID(), payload: payload, answered: make(chan answer, 1)}
		f.mu.Lock()
		moment := time.Duration(d.moment * 1.25 * float64(f.mean))
		f.mu.Unlock()
		kill, freeze := time.Duration(-1), time.Duration(-1)
		switch {
		case d.kill:
			kill = moment
		case d.freeze:
			freeze = moment
		}
		began, err := e.invoke(inv, kill, freeze)
		if errors.Is(err, ErrFrozen) {
			f.count(&f.stats.Freezes)
			f.thaw(e, inv, time.Duration((0.1+d.moment)*float64(time.Second)))
			f.finished(inv, true)
			return nil, err
		}
		if err == nil && len(inv.body) > maxPayload {
			err = f.failure("Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size.")
		}
		if e.isDead() {
			e.end()
		} else {
			f.push(e)
		}
		if !began && attempt < attempts && !errors.Is(err, ErrClosed) {
			continue
		}
		f.finished(inv, began)
		if err == nil && d.lose {
			f.count(&f.stats.LostAnswers)
			return nil, ErrAnswerLost
		}
		return inv.body, err
	}
}

// thaw lets a frozen process go on after a pause, and waits in the background until it
// has answered.
func (f *function) thaw(e *environment, inv *invocation, after time.Duration) {
	done := f.r.begin()
	if !f.r.spawn(func() {
		defer done()
		pause(f.r.ctx, after, nil)
		e.mu.Lock()
		e.signal(syscall.SIGCONT)
		e.mu.Unlock()
		timeout := time.NewTimer(f.Timeout)
		defer timeout.Stop()
		select {
		case <-inv.answered:
			f.push(e)
			return
		case <-e.ended:
		case <-timeout.C:
		}
		e.end()
	}) {
		done() // the runner is closed, which ends all processes
	}
}

// runHere invokes the handler of the function in this process.
func (f *function) runHere(payload []byte, d draws) ([]byte, error) {
	ctx, cancel := context.WithTimeout(f.r.ctx, f.Timeout)
	defer cancel()
	start := now()
	body, err := f.Handler(ctx, payload)
	f.finished(&invocation{took: now().Sub(start)}, true)
	if err == nil && d.lose {
		f.count(&f.stats.LostAnswers)
		return nil, ErrAnswerLost
	}
	return body, err
}

func (f *function) finished(inv *invocation, began bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !began {
		return
	}
	f.stats.Invocations++
	f.stats.Busy += inv.took
	f.mean += (inv.took - f.mean) / 8
}

func (f *function) failure(kind, message string) *FunctionError {
	return &FunctionError{Function: f.Name, Type: kind, Message: message}
}

// environment returns a process that polls or is starting.
func (f *function) environment() (*environment, error) {
	for {
		e := f.pop()
		if e == nil {
			return f.start()
		}
		if !e.isDead() {
			return e, nil
		}
		e.end()
	}
}

func (f *function) pop() *environment {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.idle) == 0 {
		return nil
	}
	e := f.idle[len(f.idle)-1]
	f.idle = f.idle[:len(f.idle)-1]
	return e
}

func (f *function) push(e *environment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, e)
}

// start starts a process. It holds mu so that close sees the process.
func (f *function) start() (*environment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	f.stats.ColdStarts++
	e, err := startEnvironment(f)
	if err != nil {
		return nil, fmt.Errorf("lambdarunner: function %s: %w", f.Name, err)
	}
	f.all[e] = true
	return e, nil
}

// close kills all processes.
func (f *function) close() {
	f.mu.Lock()
	f.closed = true
	all := make([]*environment, 0, len(f.all))
	for e := range f.all {
		all = append(all, e)
	}
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, e := range all {
		wg.Go(e.end)
	}
	wg.Wait()
}

func (f *function) forget(e *environment, exited bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, e)
	if exited {
		f.stats.Exits++
	}
}
