package drivertest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
)

// TestMain fails when goroutines are left behind.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(time.Minute); code == 0 && runtime.NumGoroutine() > before; pause(10 * time.Millisecond) {
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
	for _, f := range catalogue() {
		byName[f.property+"/"+f.name] = f
	}
	for _, name := range []string{
		"EventLog/EverythingOfACommitIsKept/LosesTheLastEvent",
		"EventLog/ConflictCarriesTheWinner/ConflictWithTheLoser",
		"EventLog/LoadOfAnotherStateVersionReadsFurtherBack/IgnoresTheStateVersion",
		"EventLog/ScanYieldsEveryStreamInOneSegment/ScanIsOutOfOrder",
		"CommandTopic/ARepeatedCommandIsDeliveredOnce/HasNoDeDuplication",
		"QueryDb/ExpiredRowsAreAbsentForReaders/ExpiredRowsExist",
		"QueryDb/ApplyIsAllOrNothingUnderConflict/RowsFirstThenTheWatermark",
		"QueryDb/ApplyHonoursGuards/IgnoresGuards",
		"QueryDb/RevisionsGrowWithEveryWrite/EqualWritesKeepTheRevision",
		"QueryEngine/FiltersCompare/UnequalExcludesAbsentFields",
		"QueryEngine/NumbersOrderByValue/OrdersNumbersAsText",
		"QueryEngine/PagesNeitherSkipNorRepeat/RepeatsTheRowAtTheBorder",
		"QueryEngine/ScansOrderByAField/AbsentComesLast",
		"QueryEngine/EveryRowHasACursor/GivesEachRowThePreviousCursor",
		"QueryEngine/CursorsPageBackwards/BackwardPagesIncludeTheirRow",
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
			report := difference(t, 1, 12, openMemory, openFaulty(f.plant, f.property))
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

// durable makes the data of a memory survive Reopen.
func durable(f *Fixture) *Fixture {
	store := f.Provider
	current := newSession(store)
	f.Provider = current.provider
	f.Reopen = func(t *testing.T) driver.PullProvider {
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
// what its receivers have leased.
type session struct {
	provider *sessionProvider

	mu      sync.RWMutex // for reading while a call runs
	closed  bool
	leasing sync.Mutex
	leases  map[any]func()
}

type sessionProvider struct {
	*faults.Provider
	s *session
}

func (p *sessionProvider) Close() error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if !p.s.closed {
		for _, release := range p.s.leases {
			release()
		}
	}
	p.s.closed = true
	return nil
}

func newSession(store driver.PullProvider) *session {
	p := faults.New(store, nil)
	s := &session{leases: map[any]func(){}}
	s.provider = &sessionProvider{p, s}
	faults.Change(p, func(l *faults.EventLog) {
		l.OnAppend = func(ctx context.Context, c driver.Commit) error {
			return s.during(func() error { return l.EventLog.Append(ctx, c) })
		}
	})
	faults.Change(p, func(t *faults.CommandTopic) {
		t.OnSend = func(ctx context.Context, cs []driver.Command) error {
			return s.during(func() error { return t.CommandTopic.Send(ctx, cs) })
		}
	})
	leased[driver.Command](s)
	leased[driver.Record](s)
	leased[driver.CounterFinished](s)
	leased[driver.Firing](s)
	leased[driver.ObjectEvent](s)
	return s
}

func (s *session) during(f func() error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return fmt.Errorf("session: %w", driver.ErrUnavailable)
	}
	return f()
}

// leased keeps account of what the receivers of one kind have leased.
func leased[T any](s *session) {
	faults.Change(s.provider.Provider, func(r *faults.Receiver[T]) {
		type key struct {
			r  driver.Receiver[T]
			id string
		}
		r.OnReceive = func(ctx context.Context, max int) (b driver.Batch[T], err error) {
			err = s.during(func() error {
				b, err = r.Receiver.Receive(ctx, max)
				s.leasing.Lock()
				defer s.leasing.Unlock()
				for _, d := range b.Deliveries {
					s.leases[key{r, d.ID}] = func() {
						_ = r.Receiver.Settle(context.WithoutCancel(ctx), []driver.Settlement{{ID: d.ID, Retry: true}})
					}
				}
				return err
			})
			return b, err
		}
		r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
			return s.during(func() error {
				s.leasing.Lock()
				for _, x := range ss {
					delete(s.leases, key{r, x.ID})
				}
				s.leasing.Unlock()
				return r.Receiver.Settle(ctx, ss)
			})
		}
	})
}
