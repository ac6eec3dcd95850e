//go:build faults

package drivertest

import (
	"context"
	"fmt"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// TestMain fails when goroutines are left behind.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(5 * time.Second); code == 0 && runtime.NumGoroutine() > before; pause(10 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 64<<10)
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n%s\n", runtime.NumGoroutine()-before, buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}

func TestMemory(t *testing.T) { TestProvider(t, openMemory) }

func TestSameResultsOfTwoMemories(t *testing.T) { TestSameResults(t, openMemory, openMemory) }

// TestSameResultsFindsFaults proves that the comparison can fail, and that it
// reports a short list.
func TestSameResultsFindsFaults(t *testing.T) {
	byName := map[string]fault{}
	for _, f := range faults() {
		byName[f.property+"/"+f.name] = f
	}
	for _, name := range []string{
		"EventLog/EverythingOfACommitIsKept/LosesTheLastEvent",
		"EventLog/ConflictCarriesTheWinner/ConflictWithTheLoser",
		"EventLog/LoadOfAnotherFoldVersionReadsFurtherBack/IgnoresTheFoldVersion",
		"EventLog/ScanYieldsEveryStreamInOneSegment/ScanIsOutOfOrder",
		"CommandTopic/ARepeatedCommandIsDeliveredOnce/HasNoDeDuplication",
		"QueryDb/SaveModesAreEnforced/IgnoresModes",
		"QueryDb/ExpiredRowsAreAbsentInEveryRespect/ExpiredRowsAreThere",
		"QueryDb/ApplyIsAllOrNothingUnderConflict/RowsFirstThenTheWatermark",
		"QueryDb/ApplyHonoursGuards/IgnoresGuards",
		"QueryDb/RevisionsGrowWithEveryWrite/EqualWritesKeepTheRevision",
		"QueryEngine/FiltersCompare/UnequalFailsOnAbsent",
		"QueryEngine/NumbersOrderByValue/OrdersNumbersAsText",
		"QueryEngine/PagesNeitherSkipNorRepeat/RepeatsTheRowAtTheBorder",
		"QueryEngine/ScansOrderByAField/BoolsAreNumbers",
		"QueryEngine/OrdersAreByNames/TheFirstOfTwoNamesCounts",
		"QueryEngine/EveryRowHasACursor/GivesEachRowTheCursorBefore",
		"QueryEngine/CursorsLeadBackwards/BackwardsIsWithTheRow",
		"Counter/ReferencesCountOnce/CountsTwice",
		"Counter/EveryReachedTargetFinishes/FinishesOnceForAll",
		"Outcomes/PendingReplacesNoOtherOutcome/PendingOverwrites",
		"DeadLetters/LettersAreListedByIDAndComponent/IgnoresTheComponent",
	} {
		t.Run(strings.ReplaceAll(name, "/", "."), func(t *testing.T) {
			t.Parallel()
			f, ok := byName[name]
			if !ok {
				t.Fatal("there is no such fault")
			}
			report := difference(t, 1, 4, openMemory, openFaulty(f.inject))
			if report == "" {
				t.Fatal("the comparison does not find the fault")
			}
			if lines := strings.Count(report, "\n"); lines > 16 {
				t.Errorf("the list was not cut down:\n%s", report)
			}
			t.Log(report)
		})
	}
}

func BenchmarkEventLog(b *testing.B) {
	BenchEventLog(b, func(b *testing.B) driver.Provider {
		p := memory.New(nil)
		b.Cleanup(func() { _ = p.Close() })
		return p
	})
}

func openMemory(t *testing.T) *Fixture {
	clock := NewClock()
	p := memory.New(&memory.Options{Now: clock.Now})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &Fixture{Provider: p, Now: clock.Now, Advance: clock.Advance}
}

// TestReopening runs the properties that reopen their provider. Memory survives
// nothing; sessions over one memory behave as if it did.
func TestReopening(t *testing.T) {
	n := 0
	for _, s := range suites() {
		for _, p := range s.properties {
			if !reopens(p.name) {
				continue
			}
			n++
			t.Run(s.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				p.check(newEnv(t, t, t.Context(), openDurable))
			})
		}
	}
	if n < 15 {
		t.Errorf("%d properties reopen their provider, there were more", n)
	}
}

func reopens(property string) bool {
	return strings.Contains(property, "Reopening") || slices.Contains([]string{
		"ThePositionIsDurable", "CloseLosesNoAcknowledgedCall", "ClosingTwiceIsFine", "ANewIndexHasTheOldRows",
	}, property)
}

// openDurable gives a memory whose data survive Reopen.
func openDurable(t *testing.T) *Fixture { return durable(openMemory(t)) }

func durable(f *Fixture) *Fixture {
	store := f.Provider
	current := newSession(store)
	f.Provider = current.provider
	f.Reopen = func(t *testing.T) driver.Provider {
		t.Helper()
		if err := current.provider.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		current = newSession(store)
		return current.provider
	}
	return f
}

// session is the time between an Open and a Close of a store. Its end releases
// what its receivers hold.
type session struct {
	provider *sessionProvider

	mu      sync.RWMutex // held by running calls
	closed  bool
	holding sync.Mutex
	held    map[any]func()
}

type sessionProvider struct {
	hooked
	s *session
}

func (p *sessionProvider) Close() error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if !p.s.closed {
		for _, release := range p.s.held {
			release()
		}
	}
	p.s.closed = true
	return nil
}

func newSession(store driver.Provider) *session {
	s := &session{held: map[any]func(){}}
	s.provider = &sessionProvider{hooked: hooked{Provider: store}, s: s}
	h := &s.provider.hooked
	h.eventLog = func(l driver.EventLog, _ string) driver.EventLog {
		return &logHook{
			EventLog: l,
			append: func(ctx context.Context, c driver.Commit) error {
				return during(s, func() error { return l.Append(ctx, c) })
			},
			read: func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				return l.Read(ctx, stream, after)
			},
		}
	}
	h.commandTopic = func(t driver.CommandTopic, _ string) driver.CommandTopic {
		receive, settle := held(s, t)
		return &topicHook{CommandTopic: t, receive: receive, settle: settle, send: func(ctx context.Context, cs []driver.Command) error {
			return during(s, func() error { return t.Send(ctx, cs) })
		}}
	}
	h.collector = func(c driver.EventCollector, _ driver.CollectorSpec) driver.EventCollector {
		receive, settle := held(s, c)
		return &collectorHook{EventCollector: c, receive: receive, settle: settle}
	}
	h.counter = func(c driver.Counter, _ string) driver.Counter {
		receive, settle := held(s, c)
		return &counterHook{Counter: c, receive: receive, settle: settle}
	}
	h.scheduler = func(c driver.Scheduler) driver.Scheduler {
		receive, settle := held(s, c)
		return &schedulerHook{Scheduler: c, receive: receive, settle: settle}
	}
	h.bucket = func(b driver.Bucket, _ string) driver.Bucket {
		receive, settle := held(s, b)
		return &bucketHook{Bucket: b, receive: receive, settle: settle}
	}
	return s
}

func during(s *session, f func() error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return fmt.Errorf("session: %w", driver.ErrUnavailable)
	}
	return f()
}

// held makes a receiver's methods that keep account of what is held.
func held[T any](s *session, r driver.Receiver[T]) (func(context.Context, int) (driver.Batch[T], error), func(context.Context, []driver.Settlement) error) {
	type key struct {
		r  driver.Receiver[T]
		id string
	}
	receive := func(ctx context.Context, max int) (b driver.Batch[T], err error) {
		err = during(s, func() error {
			b, err = r.Receive(ctx, max)
			s.holding.Lock()
			defer s.holding.Unlock()
			for _, d := range b.Deliveries {
				s.held[key{r, d.ID}] = func() {
					_ = r.Settle(context.WithoutCancel(ctx), []driver.Settlement{{ID: d.ID, Retry: true}})
				}
			}
			return err
		})
		return b, err
	}
	settle := func(ctx context.Context, ss []driver.Settlement) error {
		return during(s, func() error {
			s.holding.Lock()
			for _, x := range ss {
				delete(s.held, key{r, x.ID})
			}
			s.holding.Unlock()
			return r.Settle(ctx, ss)
		})
	}
	return receive, settle
}
