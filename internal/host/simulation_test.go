package host_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/schedule"
)

var plans = flag.Int("plans", 60, "the number of plans of TestWholeEngineUnderPlansOfFaults")

// TestWholeEngineUnderPlansOfFaults runs an App with all that the engine does on memory,
// with a virtual clock. A plan, which its seed determines, has processes that end at any
// write and start again, calls that fail before or after they took effect, stores that
// throttle for minutes, processes that freeze within a call, transports that double,
// delay, reorder and drop, clocks that differ and jump, and rebuilds. The order in which
// Go runs goroutines is not part of a plan, so a seed repeats the plan but not each step.
func TestWholeEngineUnderPlansOfFaults(t *testing.T) {
	t.Parallel()
	var simulated, ran atomic.Int64
	began := time.Now()
	t.Run("plans", func(t *testing.T) {
		seeds(t, *plans, func(t *testing.T, seed uint64, rng *rand.Rand) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, rng)
				s.run()
				simulated.Add(int64(time.Since(s.began)))
				ran.Add(1)
			})
		})
	})
	hours := time.Duration(simulated.Load()).Hours()
	t.Logf("%d plans, %.0f simulated hours, %.0f per minute", ran.Load(), hours, hours/time.Since(began).Minutes())
}

// simulation is a plan and what happened in it.
type simulation struct {
	t      *testing.T
	shelf  *shelf
	app    *reventless.App
	memory *memory.Provider
	began  time.Time
	end    time.Time // of the faults
	logger *slog.Logger

	mu      sync.Mutex
	rng     *rand.Rand // of the plan
	running []*run     // the hosts that callers can reach, nil while a process is down
	acked   []acknowledged
}

// acknowledged is a command with its outcome.
type acknowledged struct {
	driver.Outcome
	kind string // the type of the command
}

func newSimulation(t *testing.T, rng *rand.Rand) *simulation {
	s := &simulation{t: t, rng: rng, began: time.Now(), logger: slog.New(slog.DiscardHandler)}
	s.shelf = newShelf(func(spec *jarSpec) { spec.Async, spec.SnapshotEvery = true, 5 })
	s.app = s.shelf.app(
		copying(s.shelf.jar, s.shelf.crate),
		schedule.New(schedule.Spec{Name: "Tick", Rate: schedule.Every(time.Hour), Send: s.shelf.jar.To("tick", Put{N: 1})}),
	)
	var limits driver.Limits
	if s.oneIn(3) {
		limits.MaxFeedReaders = 2
	}
	if s.oneIn(2) {
		limits.MaxStep = 6
	}
	s.memory = memory.New(&memory.Options{Limits: limits})
	s.running = make([]*run, 1+rng.IntN(2))
	if os.Getenv("REVENTLESS_SEED") != "" && testing.Verbose() {
		s.logger = slog.New(slog.NewTextHandler(os.Stdout, nil))
	}
	return s
}

func (s *simulation) intN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *simulation) oneIn(n int) bool { return s.intN(n) == 0 }

// between returns a random time from low to high.
func (s *simulation) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.intN(int((high-low)/time.Millisecond)))*time.Millisecond
}

// pause sleeps on the virtual clock.
func pause(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // the clock of the bubble

func (s *simulation) over() bool { return !time.Now().Before(s.end) }

func (s *simulation) run() {
	s.end = s.began.Add(s.between(2*time.Hour, 8*time.Hour))
	var processes, callers sync.WaitGroup
	for i := range s.running {
		processes.Go(func() { s.process(i) })
	}
	for g := range 2 {
		callers.Go(func() { s.call(g) })
	}
	processes.Wait()
	calm := s.open(faults.New(s.memory, nil), time.Now)
	if calm == nil {
		s.t.Fatal("a host without faults does not start")
	}
	defer calm.stop()
	s.mu.Lock()
	s.running = []*run{calm}
	s.mu.Unlock()
	callers.Wait()
	pause(time.Hour) // leases of ended processes expire
	s.shelf.last(calm, 0)
	now := time.Now()
	pause(now.Truncate(time.Hour).Add(2*time.Hour + 30*time.Minute).Sub(now)) // no schedule is due while all is compared
	calm.idle()
	s.check(calm)
}

// open starts a host on a provider. It returns nil if the start fails.
func (s *simulation) open(p *faults.Provider, now func() time.Time) *run {
	r := &run{t: s.t, memory: s.memory, faults: p, lines: &lines{}}
	var err error
	if r.Host, err = host.Open(s.t.Context(), s.app.Assembled(), p, &host.Options{Now: now, Logger: s.logger}); err != nil {
		return nil
	}
	if err = r.Start(s.t.Context()); err != nil {
		r.stop()
		return nil
	}
	return r
}

// process runs one process after another, until the plan is over.
func (s *simulation) process(i int) {
	skewed := s.oneIn(2)
	for n := uint64(0); !s.over(); n++ {
		p := faults.New(s.memory, nil)
		var offset atomic.Int64
		if skewed {
			offset.Store(int64(s.between(-5*time.Minute, 5*time.Minute)))
		}
		s.disturb(p, uint64(i)<<32|n)
		r := s.open(p, func() time.Time { return time.Now().Add(time.Duration(offset.Load())).Round(0) })
		if r == nil {
			pause(time.Minute)
			continue
		}
		s.reach(i, r)
		if s.oneIn(3) {
			ctx, cancel := context.WithTimeout(s.t.Context(), time.Hour)
			go func() {
				defer cancel()
				_ = r.Rebuild(ctx, []string{"Shop.Sums", "Shop.Totals", "Shop.Latest", "Shop.Owners"}[s.intN(4)], nil) // a later process continues it
			}()
		}
		pause(s.between(time.Minute, time.Hour))
		if s.oneIn(8) {
			offset.Add(int64(s.between(-time.Hour, 3*time.Hour))) // the machine slept, or its clock was set
			pause(s.between(time.Minute, time.Hour))
		}
		if !s.oneIn(3) { // it is killed
			ended := make(chan struct{})
			var once sync.Once
			p.EndAtWrite(1+s.intN(20), s.oneIn(2), func() { once.Do(func() { close(ended) }) })
			select {
			case <-ended:
			case <-time.After(10 * time.Minute):
			}
		}
		s.reach(i, nil)
		r.stop()
		if s.oneIn(2) {
			pause(s.between(0, 10*time.Minute))
		}
	}
}

// reach sets the host that callers reach in place i.
func (s *simulation) reach(i int, r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[i] = r
}

// calls are the calls that fail, throttle or freeze.
var calls = []string{
	"EventLog.Append", "EventLog.Append", "EventLog.Append", "EventLog.Load", "EventLog.Read", "CommandTopic.Send", "EventTopic.Publish",
	"QueryDb.Apply", "QueryDb.Apply", "QueryDb.Watermarks", "QueryDb.LoadRows", "QueryDb.Load", "QueryDb.Advance",
	"Watermarks.Advance", "Watermarks.Watermarks", "Outcomes.Put", "Shadow.Apply", "Shadow.SetRecord", "Shadow.Swap", "Shadow.Drop",
	"CommandTopic.Receive", "CommandTopic.Settle", "EventCollector.Receive", "EventCollector.Settle", "Scheduler.Receive", "Scheduler.Settle",
	"Scheduler.Create", "Scheduler.List",
}

// disturb plans the faults of one process.
func (s *simulation) disturb(p *faults.Provider, seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rng.IntN(4) > 0 {
		d := disturbed(seed, s.rng)
		d.Commands = true
		p.Disturb(d)
	}
	for range s.rng.IntN(30) {
		w := lostWays[s.rng.IntN(len(lostWays))]
		p.Inject(faults.Rule{Op: calls[s.rng.IntN(len(calls))], Skip: s.rng.IntN(60), Times: 1 + s.rng.IntN(4), Err: w.err, After: w.after, Yield: s.rng.IntN(3)})
	}
	for range s.rng.IntN(3) { // a hot partition, which throttles for minutes
		var hot *faults.Injected
		var once sync.Once
		d := time.Duration(1+s.rng.IntN(10)) * time.Minute
		hot = p.Inject(faults.Rule{Op: calls[s.rng.IntN(len(calls))], Skip: s.rng.IntN(60), Times: -1, Err: driver.ErrThrottled, Do: func() {
			once.Do(func() { time.AfterFunc(d, func() { hot.Stop() }) })
		}})
	}
	for range s.rng.IntN(3) { // the process freezes, and goes on when others have taken over
		d := time.Duration(1+s.rng.IntN(30)) * time.Minute
		p.Inject(faults.Rule{Op: calls[s.rng.IntN(len(calls))], Skip: s.rng.IntN(60), After: s.rng.IntN(2) == 0, Do: func() { pause(d) }})
	}
}

// call sends random commands, each until it has an outcome.
func (s *simulation) call(g int) {
	for i := 0; !s.over(); i++ {
		pause(s.between(time.Second, 20*time.Minute))
		s.insist(fmt.Sprintf("%d-%d", g, i), s.shelf.random(s.intN, i))
	}
}

// insist repeats a command for up to 40 minutes.
func (s *simulation) insist(id string, c message.Send) {
	for range 80 {
		s.mu.Lock()
		r := s.running[s.rng.IntN(len(s.running))]
		s.mu.Unlock()
		if r != nil {
			ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
			o, err := r.SendAction(ctx, id, driver.Meta{}, c.Erased())
			cancel()
			if err == nil && !r.faults.Ended() {
				s.mu.Lock()
				s.acked = append(s.acked, acknowledged{o, c.Erased().Command.Type})
				s.mu.Unlock()
				return
			}
		}
		pause(30 * time.Second)
	}
}

// check compares all that is stored with what was acknowledged.
func (s *simulation) check(r *run) {
	r.wantNothingParked()
	s.shelf.check(r)
	answered := map[string]string{}
	added, copied := map[string]int{}, map[string]int{} // by entity
	for _, log := range []string{"Shop.Jar", "Shop.Crate"} {
		for _, c := range r.commits(log, "") {
			at := fmt.Sprintf("%s %s %d", log, c.Stream, c.SequenceNr)
			for _, a := range c.Commands {
				if before := answered[a.Meta.ID]; before != "" {
					s.t.Errorf("the command %s has two commits, %s and %s", a.Meta.ID, before, at)
				}
				answered[a.Meta.ID] = at
				if log == "Shop.Crate" && a.Meta.CausationID != "" {
					copied[c.Stream]++
				}
			}
			for _, e := range c.Events {
				if log == "Shop.Jar" && e.Type == "Added" {
					added[c.Stream]++
				}
			}
		}
	}
	wantEqual(s.t, "commands of the automation, by entity", copied, added)
	for _, o := range s.acked {
		at := answered[o.CommandID]
		switch {
		case o.Kind == driver.Accepted && o.EventCount > 0 && at != fmt.Sprintf("%s %s %d", o.Target, o.EntityID, o.SequenceNr),
			o.Kind == driver.Pending && at == "" && (o.kind == "Put" || o.kind == "Burst"):
			s.t.Errorf("the command %+v was acknowledged; its commit is %q", o, at)
		}
	}
	if len(s.acked) == 0 || answered[""] != "" {
		s.t.Errorf("%d commands were acknowledged; a commit answers a command without an id: %t", len(s.acked), answered[""] != "")
	}
	lags, err := r.Lags(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range lags {
		if l.Commits > 0 || l.Blocked {
			s.t.Errorf("the lag is %+v after all was applied", l)
		}
	}
}
