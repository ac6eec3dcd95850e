package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	modernc "modernc.org/sqlite"

	"github.com/reventless-go/reventless/driver"
)

// gated is a provider whose writer can be blocked, so that requests form one group.
type gated struct {
	*Provider
	t *testing.T
}

// together runs requests in one group and returns their errors.
func (g gated) together(requests ...*request) []error {
	g.t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		err := g.write(context.Background(), func(*tx) error {
			if first { // it may run again
				first = false
				close(entered)
				<-leave
			}
			return nil
		})
		if err != nil {
			g.t.Errorf("the gate: %v", err)
		}
	})
	<-entered
	errs := make([]error, len(requests))
	for i, r := range requests {
		wg.Go(func() { errs[i] = g.writer.do(context.Background(), r) })
		for len(g.writer.requests) <= i { // in this order
			runtime.Gosched()
		}
	}
	close(leave)
	wg.Wait()
	return errs
}

func insertName(name string) func(t *tx) error {
	return func(t *tx) error {
		_, _, err := t.exec("INSERT INTO names (kind, name, crc) VALUES ('test', ?, 0)", name)
		return err
	}
}

func (g gated) names() string {
	g.t.Helper()
	var all string
	err := g.read(context.Background(), func(c *conn) error {
		return c.query("SELECT name FROM names WHERE kind = 'test' ORDER BY id", nil, func(row []sqldriver.Value) error {
			all += text(row[0])
			return nil
		})
	})
	if err != nil {
		g.t.Error(err)
	}
	return all
}

func TestAFailingRequestDoesNotAffectItsGroup(t *testing.T) {
	t.Parallel()
	g := gated{mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil), t}
	errOwn := errors.New("own")
	notified := map[string]int{}
	effects := ""
	g.Notify(func(r string) { notified[r]++ })
	ok := func(name string) *request {
		return &request{run: func(t *tx) error {
			t.after(func() { effects += name })
			t.notify(name)
			return insertName(name)(t)
		}}
	}
	// writes and then fails
	failing := func(savepoint bool, end func(t *tx) error) *request {
		return &request{savepoint: savepoint, run: func(t *tx) error {
			t.after(func() { effects += "!" })
			t.notify("!")
			if err := insertName("!")(t); err != nil {
				return err
			}
			return end(t)
		}}
	}
	own := func(*tx) error { return errOwn }
	errs := g.together(
		ok("a"),
		failing(true, own),
		ok("b"),
		failing(false, own),
		ok("c"),
		failing(true, func(t *tx) error { return insertName("a")(t) }), // breaks a constraint
		failing(false, func(*tx) error { panic("oops") }),
		ok("d"),
		&request{run: own}, // fails without having written
		ok("e"),
	)
	for i, want := range []error{nil, errOwn, nil, errOwn, nil, nil, nil, nil, errOwn, nil} {
		switch {
		case i == 5:
			if code, ok := resultCode(errs[i]); !ok || code&0xff != 19 {
				t.Errorf("request 5: got %v, want the constraint", errs[i])
			}
		case i == 6:
			if errs[i] == nil || !strings.Contains(errs[i].Error(), "oops") {
				t.Errorf("request 6: got %v, want the panic", errs[i])
			}
		case !errors.Is(errs[i], want) || want == nil && errs[i] != nil:
			t.Errorf("request %d: got %v, want %v", i, errs[i], want)
		}
	}
	if got := g.names(); got != "abcde" {
		t.Errorf("stored is %q, want abcde", got)
	}
	if effects != "abcde" || notified["a"] != 1 || notified["e"] != 1 || notified["!"] != 0 {
		t.Errorf("effects %q, notifications %v, want those of abcde once", effects, notified)
	}
}

func TestRequestsThatWaitShareATransaction(t *testing.T) {
	t.Parallel()
	g := gated{mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil), t}
	commits := 0
	g.writer.c.raw.(modernc.HookRegisterer).RegisterCommitHook(func() int32 { commits++; return 0 })
	var requests []*request
	for i := range 100 {
		requests = append(requests, &request{run: insertName(fmt.Sprintf("n%d,", i))})
	}
	for i, err := range g.together(requests...) {
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if commits != 1 {
		t.Errorf("%d commits, want 1", commits)
	}
}

func TestAFailedCommitFailsAllOfItsGroup(t *testing.T) {
	t.Parallel()
	g := gated{mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil), t}
	refuse := true
	g.writer.c.raw.(modernc.HookRegisterer).RegisterCommitHook(func() int32 {
		if refuse {
			refuse = false
			return 1
		}
		return 0
	})
	conflict := fmt.Errorf("lost to the first: %w", driver.ErrConflict)
	errs := g.togetherFailing(
		&request{run: insertName("a")},
		&request{run: func(*tx) error { return conflict }}, // based on a change that is rolled back
		&request{run: insertName("b")},
	)
	for i, err := range errs {
		if err == nil || errors.Is(err, driver.ErrConflict) {
			t.Errorf("request %d of a group whose commit failed: got %v, want its error", i, err)
		}
	}
	if got := g.names(); got != "" {
		t.Errorf("stored is %q, want nothing", got)
	}
	if err := g.write(t.Context(), insertName("c")); err != nil {
		t.Errorf("the next request: %v", err)
	}
	if got := g.names(); got != "c" {
		t.Errorf("stored is %q, want c", got)
	}
}

// togetherFailing is together for a group whose commit fails, so the gate fails too.
func (g gated) togetherFailing(requests ...*request) []error {
	quiet := gated{g.Provider, &testing.T{}}
	return quiet.together(requests...)
}

func TestACancelledRequestHasNoHalfEffect(t *testing.T) {
	t.Parallel()
	g := gated{mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil), t}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting error
	var wg sync.WaitGroup
	errs := g.together(&request{run: func(x *tx) error {
		// While this one runs, another request waits and is cancelled.
		wg.Go(func() { waiting = g.write(ctx, insertName("cancelled")) })
		for len(g.writer.requests) == 0 {
			runtime.Gosched()
		}
		cancel()
		wg.Wait()
		return insertName("a")(x)
	}})
	if errs[0] != nil || !errors.Is(waiting, context.Canceled) {
		t.Errorf("got %v and %v, want nil and context.Canceled", errs[0], waiting)
	}

	// A call that is cancelled while its request runs returns immediately; the request still
	// takes effect as a whole.
	ctx, cancel = context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- g.write(ctx, func(x *tx) error {
			if err := insertName("b")(x); err != nil {
				return err
			}
			close(entered)
			<-leave
			return insertName("c")(x)
		})
	}()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a call cancelled while its request runs: got %v, want context.Canceled", err)
	}
	close(leave)
	if err := g.write(t.Context(), insertName("d")); err != nil {
		t.Fatal(err)
	}
	if got := g.names(); got != "abcd" {
		t.Errorf("stored is %q, want abcd", got)
	}
}

func TestNumbersAreNeverReused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	last := int64(0)
	for round := range 3 {
		p, err := Open(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		next := func(n int, end error) {
			err := p.writeWhole(t.Context(), func(x *tx) error {
				for range n {
					id, err := x.next()
					if err != nil {
						return err
					}
					if id <= last {
						t.Fatalf("round %d: %d comes after %d", round, id, last)
					}
					last = id
				}
				return end
			})
			if !errors.Is(err, end) {
				t.Error(err)
			}
		}
		next(10, nil)
		next(idBlock+10, errors.New("no")) // the reserved block is rolled back
		next(10, nil)
		next(3*idBlock, nil)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheWriteAheadLogStaysSmall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	fillLog(t, p, 1, 10)
	// Overlapping readers prevent SQLite from restarting the log.
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := p.read(context.Background(), func(c *conn) error {
					_, err := c.integer("SELECT sum(length(events)) FROM commits")
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	const limit = 512 << 10
	fill := strings.Repeat("x", 20<<10)
	most := int64(0)
	for range 150 { // 3 MB
		err := p.write(t.Context(), func(x *tx) error {
			x.w.maxLog = limit
			_, _, err := x.exec("INSERT OR REPLACE INTO dead_letters (id, component, kind, log, stream, seq, reason, attempts, at, crc) VALUES ('l', ?, '', '', '', 0, '', 0, '', 0)", fill)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path + "-wal"); err == nil {
			most = max(most, info.Size())
		}
	}
	close(stop)
	wg.Wait()
	if most > 4*limit {
		t.Errorf("the log grew to %d KB", most>>10)
	}
}
