package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

// fault is one thing that a provider does wrong, and the property that must
// reject it.
type fault struct {
	name     string
	property string // "<suite>/<property>"
	plant    plant
}

// plant makes the provider of w faulty, each time that it is opened.
type plant func(w *faulty)

// faulty is what a fault knows of the fixture that it is planted into.
type faulty struct {
	*Fixture
	p *faults.Provider
	// session counts how often the provider was opened, from 1.
	session int
	// memo survives a reopening.
	memo map[string]any
	mu   sync.Mutex
}

// on changes each driver of type D that is opened.
func on[D any](change func(h D, w *faulty)) plant {
	return func(w *faulty) { faults.Change(w.p, func(h D) { change(h, w) }) }
}

// onEnds changes a sender together with the receiver that is opened after it.
func onEnds[S, T any](change func(h S, r *faults.Receiver[T], w *faulty)) plant {
	return func(w *faulty) {
		var sender S
		faults.Change(w.p, func(h S) { sender = h })
		faults.Change(w.p, func(r *faults.Receiver[T]) { change(sender, r, w) })
	}
}

// answers makes the calls of op, such as "EventLog.Append", that fail with a class
// end with another error, or with none.
func answers(op string, class, with error) plant {
	return func(w *faulty) {
		w.p.Inject(faults.Rule{Op: op, Times: -1, Map: func(err error) error {
			if errors.Is(err, class) {
				return with
			}
			return err
		}})
	}
}

// both plants several faults that work together.
func both(plants ...plant) plant {
	return func(w *faulty) {
		for _, p := range plants {
			p(w)
		}
	}
}

// memoOf returns what is remembered under a name, made at its first use.
func memoOf[T any](w *faulty, name string, first func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v, ok := w.memo[name]; ok {
		return v.(T)
	}
	v := first()
	w.memo[name] = v
	return v
}

func catalogue() []fault {
	return slices.Concat(eventLogFaults(), receiverFaults(), commandTopicFaults(), collectorFaults(), eventTopicFaults(), watermarksFaults(), shadowFaults(),
		rowFaults(), stepFaults(), engineFaults(), stateTopicFaults(), counterFaults(), schedulerFaults(), bucketFaults(),
		deadLettersFaults(), outcomesFaults(), providerFaults(), cancelledFaults())
}

// openFaulty opens a memory with a fault. Its data survive a reopening, except for the
// properties that look at what Close does to drivers.
func openFaulty(f plant, property string) Open {
	return func(t *testing.T) *Fixture {
		fixture := openMemory(t)
		if property != "Provider/ClosedDriversAreUnavailable" && property != "Provider/CloseEndsSubscriptions" {
			fixture = durable(fixture)
		}
		w := &faulty{Fixture: fixture, memo: map[string]any{}}
		wrapped := func(p driver.PullProvider) driver.PullProvider {
			w.session++
			w.p = faults.New(p, nil)
			f(w)
			return w.p
		}
		if reopen := fixture.Reopen; reopen != nil {
			fixture.Reopen = func(t *testing.T) driver.PullProvider { return wrapped(reopen(t)) }
		}
		fixture.Provider = wrapped(fixture.Provider)
		fixture.DamageCommit = func(_ *testing.T, log, stream string, sequenceNr uint64) driver.PullProvider {
			w.p.DamageCommit(log, stream, sequenceNr)
			return w.p
		}
		fixture.Patience = 50 * time.Millisecond // what is lost is not waited for
		return fixture
	}
}

// patient waits longer than [openFaulty] does for what is lost.
func patient(open Open) Open {
	return func(t *testing.T) *Fixture {
		f := open(t)
		f.Patience = 30 * time.Second
		return f
	}
}

// TestSuitesRejectFaults is the proof of the suites: each fault fails the
// property that is about it. With REVENTLESS_FAULTS=all it also says which
// others the fault fails.
func TestSuitesRejectFaults(t *testing.T) {
	properties := map[string]property{}
	for _, s := range suites() {
		for _, p := range s.properties {
			if _, ok := properties[s.name+"/"+p.name]; ok {
				t.Errorf("two properties are named %s/%s", s.name, p.name)
			}
			properties[s.name+"/"+p.name] = p
		}
	}
	all := os.Getenv("REVENTLESS_FAULTS") == "all"
	proved := map[string]bool{}
	names := map[string]bool{}
	for _, f := range catalogue() {
		p, ok := properties[f.property]
		if !ok {
			t.Errorf("%s: there is no property %s", f.name, f.property)
			continue
		}
		if names[f.property+f.name] {
			t.Errorf("two faults of %s are named %s", f.property, f.name)
		}
		names[f.property+f.name] = true
		proved[f.property] = true
		t.Run(strings.ReplaceAll(f.property, "/", ".")+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			var r *recorder
			for range 3 { // a race may be missed once
				if r = record(t, openFaulty(f.plant, f.property), p); r.failed {
					break
				}
			}
			if !r.failed {
				t.Errorf("%s does not find the fault %s", f.property, f.name)
			}
			t.Logf("found: %s", r.first())
			if !all {
				return
			}
			suite, _, _ := strings.Cut(f.property, "/")
			for _, s := range suites() {
				for _, other := range s.properties {
					if s.name == suite && other.name != p.name && record(t, openFaulty(f.plant, s.name+"/"+other.name), other).failed {
						t.Logf("also fails %s", other.name)
					}
				}
			}
		})
	}
	for _, s := range suites() {
		for _, p := range s.properties {
			if name := s.name + "/" + p.name; !proved[name] {
				t.Errorf("no fault proves that %s can fail", name)
			}
		}
	}
}

// TestPropertiesHoldWithoutFault is the control of the proof: on the same provider
// without a fault the same properties hold, also those that reopen it.
func TestPropertiesHoldWithoutFault(t *testing.T) {
	for _, s := range suites() {
		for _, p := range s.properties {
			name := s.name + "/" + p.name
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if r := record(t, patient(openFaulty(func(*faulty) {}, name)), p); r.failed {
					t.Errorf("fails without a fault: %s", r.first())
				}
			})
		}
	}
}

// recorder stands in for the testing.TB of a property that is to fail.
type recorder struct {
	testing.TB // for the methods that do not report

	mu      sync.Mutex
	failed  bool
	skipped bool
	said    []string
}

// record runs a property and records what it reports.
func record(t *testing.T, open Open, p property) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				r.Errorf("panic: %v", v)
			}
		}()
		e := newEnv(r, t, ctx, open)
		e.brief = true
		p.check(e)
	}()
	<-done
	return r
}

func (r *recorder) first() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.said) == 0 {
		return "nothing"
	}
	if first, _, _ := strings.Cut(r.said[0], "\n"); len(first) <= 300 {
		return first
	}
	return r.said[0][:300]
}

func (r *recorder) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Helper()                           {}
func (r *recorder) Errorf(format string, args ...any) { r.say(format, args...) }
func (r *recorder) Error(args ...any)                 { r.say("%s", fmt.Sprint(args...)) }
func (r *recorder) Fail()                             { r.say("failed") }
func (r *recorder) Logf(string, ...any)               {}
func (r *recorder) Log(...any)                        {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.say(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.say("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Skipf(string, ...any) { r.SkipNow() }
func (r *recorder) Skip(...any)          { r.SkipNow() }

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

// others lets other goroutines run: it is the window of a race.
func others() {
	for range 5 {
		runtime.Gosched()
	}
}
