package drivertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// Open returns a fixture with a new, empty provider and registers its cleanup with t.
type Open func(t *testing.T) *Fixture

// Fixture is a provider under test and what a suite needs to control it.
type Fixture struct {
	// Provider is new and empty.
	Provider driver.PullProvider
	// Now is the provider's clock; nil is time.Now.
	Now func() time.Time
	// Advance moves the provider's clock forward; nil where that is impossible. Where
	// it is set, Now changes only by Advance.
	Advance func(d time.Duration)
	// Reopen closes the current provider, which may be closed already, and opens
	// the same data again; nil where no data survives.
	Reopen func(t *testing.T) driver.PullProvider
	// DamageCommit changes a stored commit as a faulty disk would. It may reopen the
	// provider, and returns the one to use from then on; nil where that is impossible.
	DamageCommit func(t *testing.T, log, stream string, sequenceNr uint64) driver.PullProvider
	// Lag is how long after a call returned its effect may be invisible to
	// receivers, queries and subscribers; 0 for embedded providers.
	Lag time.Duration
	// Patience is how long a suite waits for what has to happen; 0 is 30 seconds.
	Patience time.Duration
	// Emulated says that every call is a request to an emulator. Properties that
	// repeat the same calls then repeat them a quarter as often.
	Emulated bool
}

// Clock is a clock for fixtures. Its time changes only by Advance.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock at an arbitrary whole minute.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)}
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward by d.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// suite is the list of properties of one interface.
type suite struct {
	name       string
	properties []property
}

// property is one sentence of a contract, as a test.
type property struct {
	name  string
	check func(e *env)
}

func (s suite) run(t *testing.T, open Open) {
	for _, p := range s.properties {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.check(newEnv(t, t, t.Context(), open))
		})
	}
}

// env is what a property's check works with. Its TB may be another than the owner of
// the fixture: the tests of the suites record what a property reports.
type env struct {
	testing.TB
	*Fixture
	ctx   context.Context
	owner *testing.T
	brief bool // one failure is enough
}

func newEnv(tb testing.TB, owner *testing.T, ctx context.Context, open Open) *env {
	tb.Helper()
	f := *open(owner)
	if f.Now == nil {
		f.Now = time.Now
	}
	if f.Patience == 0 {
		f.Patience = 30 * time.Second
	}
	return &env{TB: tb, Fixture: &f, ctx: ctx, owner: owner}
}

// times returns how often a property repeats what it does n times on a fast provider.
func (e *env) times(n int) int {
	if e.Emulated {
		return max(n/4, 1)
	}
	return n
}

// sampled reports whether a property checks case i of many similar cases: every case
// of a fast provider, every fourth and the first three of an emulated one.
func (e *env) sampled(i int) bool { return !e.Emulated || i < 3 || i%4 == 3 }

// advance moves the clock, or skips the rest of the property where that is impossible.
func (e *env) advance(d time.Duration) {
	e.Helper()
	e.needClock()
	e.Advance(d)
}

// needClock skips a property that is about time where the clock cannot be moved.
func (e *env) needClock() {
	e.Helper()
	if e.Advance == nil {
		e.Skip("this provider's clock cannot be moved: the checks from here on depend on time")
	}
}

// reopen closes the provider and opens its data again, or skips the rest of the
// property where nothing survives.
func (e *env) reopen() {
	e.Helper()
	e.needReopen()
	e.Provider = e.Reopen(e.owner)
}

func (e *env) needReopen() {
	e.Helper()
	if e.Reopen == nil {
		e.Skip("this provider keeps nothing when it is closed: the checks from here on reopen it")
	}
}

// must ends the property when err is not nil.
func (e *env) must(err error, format string, args ...any) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// opened ends the property when a driver could not be opened.
func opened[D any](e *env, d D, err error) D {
	e.Helper()
	e.must(err, "open %T", &d)
	return d
}

// try reports whether err is nil, and fails the property when it is not. Unlike
// must it may be used in any goroutine.
func (e *env) try(err error, format string, args ...any) bool {
	e.Helper()
	e.errorIf(err != nil, "%s: %v", fmt.Sprintf(format, args...), err)
	return err == nil
}

// errorIf fails the property when bad is true.
func (e *env) errorIf(bad bool, format string, args ...any) {
	e.Helper()
	if bad {
		e.Errorf(format, args...)
	}
}

// fatalIf ends the property when bad is true.
func (e *env) fatalIf(bad bool, format string, args ...any) {
	e.Helper()
	if bad {
		e.Fatalf(format, args...)
	}
}

// noDiff fails the property when there is a difference.
func (e *env) noDiff(diff, format string, args ...any) {
	e.Helper()
	if diff != "" {
		e.Errorf("%s: %s", fmt.Sprintf(format, args...), diff)
	}
}

var classes = []error{
	driver.ErrConflict, driver.ErrNotFound, driver.ErrExists, driver.ErrTooLarge,
	driver.ErrThrottled, driver.ErrUnavailable, driver.ErrUnsupported, driver.ErrInvalid, driver.ErrDamaged,
}

// classOf names the class of err: the classes' texts, "none" for an error
// without one, "nil" for no error.
func classOf(err error) string {
	if err == nil {
		return "nil"
	}
	var found []string
	for _, c := range classes {
		if errors.Is(err, c) {
			found = append(found, c.Error())
		}
	}
	if found == nil {
		return "none"
	}
	return strings.Join(found, " and ")
}

// wantClass fails the property unless err has the one class want.
func (e *env) wantClass(err, want error, format string, args ...any) bool {
	e.Helper()
	if got := classOf(err); got != want.Error() {
		e.Errorf("%s: got the error %v of class %q, want class %q", fmt.Sprintf(format, args...), err, got, want)
		return false
	}
	return true
}

// wantTooLarge fails the property unless err is a *driver.TooLargeError with
// figures that make sense.
func (e *env) wantTooLarge(err error, what string, limit int, format string, args ...any) {
	e.Helper()
	about := fmt.Sprintf(format, args...)
	if !e.wantClass(err, driver.ErrTooLarge, "%s", about) {
		return
	}
	var tl *driver.TooLargeError
	if !errors.As(err, &tl) {
		e.Errorf("%s: got %v, want a *TooLargeError", about, err)
		return
	}
	if tl.What != what || tl.Limit != limit || tl.Size <= tl.Limit {
		e.Errorf("%s: got %+v, want What %q, Limit %d and a larger Size", about, *tl, what, limit)
	}
}

// race calls f(0) to f(n-1) at the same time and waits for all.
func race(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// beside calls write with 1, 2, 3 and so on while it calls each of reads repeatedly.
// It ends after at least least writes, when every reader has had a number of turns
// beside them, and after most writes at the latest. The writer waits for slow readers;
// each reader has one last turn after the last write.
func (e *env) beside(least, most int, write func(n int) bool, reads ...func() bool) {
	turns := int64(e.times(15))
	least = e.times(least)
	had := make([]atomic.Int64, len(reads))
	var all, reading atomic.Int64
	var begun, done atomic.Bool
	reading.Store(int64(len(reads)))
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for n := 1; n <= most && write(n); n++ {
			begun.Store(true)
			for spins := 0; all.Load() < int64(n/2) && reading.Load() > 0; spins++ {
				if spins < 20 {
					runtime.Gosched()
				} else {
					pause(20 * time.Microsecond)
				}
			}
			enough := n >= least
			for i := range had {
				enough = enough && had[i].Load() >= turns
			}
			if enough {
				return
			}
		}
	})
	for i, read := range reads {
		wg.Go(func() {
			defer reading.Add(-1)
			for last := false; !last; {
				last = done.Load()
				counts := begun.Load() // a turn before the first write is not beside it
				if !read() {
					had[i].Store(turns)
					return
				}
				if counts {
					had[i].Add(1)
					all.Add(1)
				}
			}
		})
	}
	wg.Wait()
}

// poll calls f until it returns true. It fails the property when that has not
// happened within the fixture's patience; f may extend it by returning progress.
func (e *env) poll(what string, f func() (done, progress bool)) bool {
	e.Helper()
	var deadline time.Time
	for i := 0; ; i++ {
		done, progress := f()
		if done {
			return true
		}
		if e.Failed() {
			return false
		}
		now := time.Now()
		switch {
		case progress || deadline.IsZero():
			deadline = now.Add(e.Patience)
		case now.After(deadline):
			e.Errorf("waited %v for %s", e.Patience, what)
			return false
		}
		if i < 100 && e.Lag == 0 {
			runtime.Gosched()
			continue
		}
		pause(e.nap())
	}
}

// nap returns the time between two polls.
func (e *env) nap() time.Duration { return min(max(e.Lag/20, time.Millisecond), 200*time.Millisecond) }

// quiet calls f until the fixture's lag has passed, at least once: f looks for
// what must not happen.
func (e *env) quiet(f func()) {
	end := time.Now().Add(e.Lag)
	for {
		f()
		if !time.Now().Before(end) {
			return
		}
		pause(e.nap())
	}
}

// settled calls f, which compares a lagging view with what it must become, until it
// returns an empty difference. Where there is no lag it calls f once.
func (e *env) settled(what string, f func() (diff string)) {
	e.Helper()
	if e.brief && e.Failed() {
		e.FailNow()
	}
	end := time.Now().Add(e.Patience)
	for {
		diff := f()
		if diff == "" {
			return
		}
		if e.Lag == 0 || time.Now().After(end) {
			e.Errorf("%s: %s", what, diff)
			return
		}
		pause(e.nap())
	}
}

func pause(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}

// collect reads a sequence to its end. Elements after an error, or a second
// error, fail the property.
func collect[T any](e *env, seq iter.Seq2[T, error]) ([]T, error) {
	e.Helper()
	var got []T
	var failed error
	for v, err := range seq {
		switch {
		case failed != nil:
			e.Errorf("the sequence continues after its error: %v", failed)
		case err != nil:
			failed = err
		default:
			got = append(got, v)
		}
	}
	return got, failed
}

// goodIDs are different ids that every provider accepts.
func goodIDs() []string {
	return []string{
		"a", "A", "aa", "0", "00", "-1", "1e3", "true", "null", "*", "?",
		" ", "  ", " a", "a ", "a b",
		"/", "a/b", "/a", "a/", "a//b", "../a", ".", "..",
		"#", "a#1", "a#", "%", "%2F", "a%20b", "a+b", "a_b", "a-b", "a.b", "a:b", "a|b", "a,b", "a;b", "a=b", "a&b",
		`"`, `'`, `a'b`, `a"b`, "`", `\`, `\u0041`, "$.a", "[0]", "{}", "<a>", "@", "!", "~", "^",
		"ä", "a\u0308", "é", "e\u0301", "ß", "SS", "İ", "ı", "ﬀ", "日本語", "العربية", "😀", "👨‍👩‍👧",
		"\u0085", "\u00a0", "\u200b", "\u2028", "\ufeff", "\ufffd", "\uffff", "\U0010ffff",
		strings.Repeat("x", driver.MaxIDBytes), strings.Repeat("x", driver.MaxIDBytes-1),
		strings.Repeat("é", driver.MaxIDBytes/2), strings.Repeat("😀", driver.MaxIDBytes/4),
		strings.Repeat("/", driver.MaxIDBytes),
	}
}

// badIDs are ids that every provider refuses, by what is wrong with them.
func badIDs() map[string]string {
	return map[string]string{
		"empty":                 "",
		"one byte too long":     strings.Repeat("x", driver.MaxIDBytes+1),
		"two-byte runes":        strings.Repeat("é", driver.MaxIDBytes/2) + "x",
		"10 KB":                 strings.Repeat("x", 10<<10),
		"invalid UTF-8":         "a\xff",
		"a cut rune":            "a\xc3",
		"an encoded surrogate":  "a\xed\xa0\x80",
		"NUL":                   "a\x00b",
		"a tab":                 "a\tb",
		"a line feed":           "a\n",
		"a unit separator":      "a\x1f",
		"delete":                "a\x7f",
		"only a control":        "\x01",
		"an overlong encoding":  "\xc0\xaf",
		"a rune beyond Unicode": "\xf4\x90\x80\x80",
	}
}

// wantList checks the keys of a list, which is nil when it is empty.
func wantList[T any](e *env, list []T, err error, key func(T) string, want []string, format string, args ...any) {
	e.Helper()
	if !e.try(err, format, args...) {
		return
	}
	e.errorIf(list != nil && len(list) == 0, format+" returned an empty list, want nil", args...)
	var got []string
	for _, v := range list {
		got = append(got, key(v))
	}
	e.noDiff(diffNames(got, want), format, args...)
}

// sortedKeys returns the keys of m, ascending.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// short returns s in a form that fits a message.
func short(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%.30q... (%d bytes)", s, len(s))
	}
	return fmt.Sprintf("%q", s)
}

// maxTested bounds the sizes that are tried: a provider with a larger limit is
// not tested at it.
const maxTested = 32 << 20

// testableLimit returns limit, or skips the property when the limit is too large to
// be tested.
func (e *env) testableLimit(name string, limit int) int {
	e.Helper()
	e.fatalIf(limit <= 0, "Limits.%s = %d, want more than 0", name, limit)
	if limit > maxTested {
		e.Skipf("Limits.%s = %d is more than the %d that are tried", name, limit, maxTested)
	}
	return limit
}
