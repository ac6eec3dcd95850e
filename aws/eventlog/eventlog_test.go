package eventlog_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/eventlog"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func TestEventLog(t *testing.T) {
	awstest.TestStores(t, drivertest.TestEventLog, 2, awstest.Mix(), func(b awstest.Backend, p driver.Provider) driver.Provider {
		if b.DynamoDB.Name == "MiniStack" {
			return sortedLogs{p}
		}
		return awstest.Repeats(b, p)
	})
}

// sortedLogs opens event logs whose scans are sorted.
type sortedLogs struct{ driver.Provider }

func (p sortedLogs) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	l, err := p.Provider.OpenEventLog(ctx, name)
	return sortedLog{l}, err
}

// sortedLog sorts what MiniStack scans. In DynamoDB the items of a partition are ordered
// by their sort key; MiniStack compares numbers as texts.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.CoreComponents.html
type sortedLog struct{ driver.EventLog }

func (l sortedLog) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		var all []driver.Commit
		for c, err := range l.EventLog.Scan(ctx, segment, segments) {
			var damage *driver.DamageError
			switch {
			case errors.As(err, &damage): // the scan goes on
				if !yield(c, err) {
					return
				}
			case err != nil:
				yield(c, err)
				return
			default:
				all = append(all, c)
			}
		}
		slices.SortFunc(all, func(a, b driver.Commit) int {
			return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.SequenceNr, b.SequenceNr))
		})
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// When this test fails, sortedLog can be deleted.
func TestMiniStackScansNumbersInTheOrderOfTexts(t *testing.T) {
	t.Parallel()
	log, _ := openOn(t, awstest.MiniStack(t), nil, nil)
	for n := range uint64(10) {
		if err := log.Append(t.Context(), commit("a", n+1, "c")); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	for c, err := range log.Scan(t.Context(), 0, 1) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.SequenceNr)
	}
	if want := []uint64{1, 10, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}

// open returns an empty log and the name of its table; transport may be nil.
func open(t *testing.T, transport http.RoundTripper, opts *eventlog.Options) (*eventlog.Log, string) {
	t.Helper()
	return openOn(t, awstest.DynamoDB(t), transport, opts)
}

func openOn(t *testing.T, e *awstest.Emulator, transport http.RoundTripper, opts *eventlog.Options) (*eventlog.Log, string) {
	t.Helper()
	table := awstest.TableOn(t, e, naming.Log, topology.Component{Kind: "Aggregate"})
	return eventlog.Open(e.Clients(transport).DynamoDB, table, opts), table
}

func commit(stream string, n uint64, command string) driver.Commit {
	return driver.Commit{
		Stream: stream, SequenceNr: n,
		Events:   []driver.Event{{Type: "Happened", Version: 1, Data: json.RawMessage(`{"n":1}`)}},
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: command}, EventCount: 1}},
	}
}

func TestAppendIsOneRequestOfOneUnit(t *testing.T) {
	t.Parallel()
	costs := awstest.NewCosts(nil)
	log, _ := open(t, costs, &eventlog.Options{Spent: costs.Spent})
	for n := range uint64(10) {
		costs.Exactly(t, "an append", 1, 1, func() error { return log.Append(t.Context(), commit("a", n+1, fmt.Sprint(n))) })
	}
}

// DynamoDB returns the winner together with the failed condition, so that no read is
// necessary.
func TestLostAppendReturnsTheWinnerWithoutARead(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	log, _ := open(t, requests, nil)
	if err := log.Append(t.Context(), commit("a", 1, "first")); err != nil {
		t.Fatal(err)
	}
	requests.Reset()
	var lost *driver.ConflictError
	if err := log.Append(t.Context(), commit("a", 1, "second")); !errors.As(err, &lost) || lost.Winner.Commands[0].Meta.ID != "first" {
		t.Fatalf("got %v, want the conflict with the first commit", err)
	}
	if n := requests.Of("DynamoDB.PutItem"); n != 1 || len(requests.All()) != 1 {
		t.Errorf("the requests are %v, want one put", requests.All())
	}
}

// Without the item it is not known which commit won, which is no verdict on the command.
func TestFailedConditionWithoutItsItemIsUnavailable(t *testing.T) {
	t.Parallel()
	log, _ := open(t, awstest.Itemless{Next: http.DefaultTransport}, nil)
	if err := log.Append(t.Context(), commit("a", 1, "first")); err != nil {
		t.Fatal(err)
	}
	err := log.Append(t.Context(), commit("a", 1, "second"))
	if !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrInvalid) || errors.Is(err, driver.ErrConflict) {
		t.Errorf("got %v, want an error of class ErrUnavailable alone", err)
	}
}

// version accepts the snapshots of a state version.
func version(n int) func(driver.SnapshotHead) bool {
	return func(h driver.SnapshotHead) bool { return h.StateVersion == n }
}

// Loading a stream is one request, however long it is, when its snapshot is recent.
func TestLoadIsOneRequestAfterARecentSnapshot(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	log, _ := open(t, requests, nil)
	for n := uint64(1); n <= 300; n++ {
		c := commit("a", n, fmt.Sprint(n))
		if n%100 == 0 {
			c.Snapshot = &driver.Snapshot{SnapshotHead: driver.SnapshotHead{StateVersion: 1}, State: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
		}
		if err := log.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for upTo, want := range map[int]int{1: 1, 2: 300} {
		requests.Reset()
		commits, err := log.Load(t.Context(), "a", version(upTo))
		if err != nil {
			t.Fatal(err)
		}
		if len(commits) != want {
			t.Errorf("state version %d: %d commits, want %d", upTo, len(commits), want)
		}
		if n := requests.Of("DynamoDB.Query"); upTo == 1 && n != 1 || n > 3 {
			t.Errorf("state version %d: %d requests", upTo, n)
		}
	}
}

func TestTooLargeCommitIsNotSent(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	at := time.Unix(0, 1795400000123456789) // a number's size depends on its digits
	log, table := open(t, requests, &eventlog.Options{Now: func() time.Time { return at }})
	c := commit("a", 1, "c")
	for _, over := range []int{0, 1} {
		// The exact limit: DynamoDB accepts it, and the driver refuses one byte more.
		c.Events[0].Data = json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)
		c.Events[0].Data = json.RawMessage(`"` + strings.Repeat("x", 1000+room(t, log, c)+over) + `"`)
		err := log.Append(t.Context(), c)
		if over == 0 && err != nil {
			t.Fatalf("a commit at the limit: %v", err)
		}
		var large *driver.TooLargeError
		if over == 1 && (!errors.As(err, &large) || large.Size != large.Limit+1) {
			t.Fatalf("a commit over the limit: %v", err)
		}
		c.SequenceNr++
	}
	if n := requests.Of("DynamoDB.PutItem"); n != 1 {
		t.Errorf("%d puts to %s, want 1", n, table)
	}
}

// room returns by how many bytes a commit may grow, from the size in the error for a
// commit that is far too large.
func room(t *testing.T, log *eventlog.Log, c driver.Commit) int {
	t.Helper()
	const more = 1 << 20
	big := c
	big.Events = []driver.Event{{Type: c.Events[0].Type, Version: 1, Data: json.RawMessage(`"` + strings.Repeat("x", len(c.Events[0].Data)-2+more) + `"`)}}
	var large *driver.TooLargeError
	if err := log.Append(t.Context(), big); !errors.As(err, &large) {
		t.Fatal(err)
	}
	return large.Limit - (large.Size - more)
}

// A foreign item fails the calls that read it and affects no other stream.
func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	log, table := open(t, nil, nil)
	if err := log.Append(t.Context(), commit("good", 1, "c")); err != nil {
		t.Fatal(err)
	}
	for name, item := range map[string]dynamo.Item{
		"bare":  {},
		"type":  {"events": &types.AttributeValueMemberL{}, "head": dynamo.Text("{}"), "at": dynamo.Number(1)},
		"head":  {"events": dynamo.Text("{}"), "head": dynamo.Text("no JSON"), "at": dynamo.Number(1)},
		"sizes": {"events": dynamo.Text("{}"), "head": dynamo.Text(`{"v":1,"e":[{"t":"A","n":3},{"t":"A"}],"c":[{"i":"c"}]}`), "at": dynamo.Number(1)},
	} {
		item["id"], item["sequenceNr"] = dynamo.Text(name), dynamo.Number(1)
		awstest.Foreign(t, table, item)
		_, err := log.Load(t.Context(), name, version(1))
		awstest.Damaged(t, "Load", err, name, table)
		if err := log.Append(t.Context(), commit(name, 1, "c")); !errors.Is(err, driver.ErrDamaged) || errors.Is(err, driver.ErrConflict) {
			t.Errorf("append where the foreign %s is: %v", name, err)
		}
	}
	if got, err := log.Load(t.Context(), "good", version(1)); err != nil || len(got) != 1 {
		t.Errorf("the good stream: %v, %v", got, err)
	}
	// A format of newer code is no damage.
	newer := commit("newer", 1, "c")
	awstest.Foreign(t, table, dynamo.Item{
		"id": dynamo.Text(newer.Stream), "sequenceNr": dynamo.Number(1), "at": dynamo.Number(1), "events": dynamo.Text("{}"),
		"head": dynamo.Text(`{"v":2,"e":[{"t":"A"}],"c":[{"i":"c"}]}`),
	})
	if _, err := log.Load(t.Context(), newer.Stream, version(1)); !errors.Is(err, driver.ErrUnsupported) || errors.Is(err, driver.ErrDamaged) {
		t.Errorf("a newer format: %v", err)
	}
}

// A damaged snapshot is passed over: the commits lead to the same state.
func TestDamagedSnapshotIsNotUsed(t *testing.T) {
	t.Parallel()
	log, table := open(t, nil, nil)
	if err := log.Append(t.Context(), commit("a", 1, "c")); err != nil {
		t.Fatal(err)
	}
	awstest.Foreign(t, table, dynamo.Item{
		"id": dynamo.Text("a"), "sequenceNr": dynamo.Number(2), "at": dynamo.Number(1), "events": dynamo.Text("{}"),
		"head": dynamo.Text(`{"v":1,"e":[{"t":"A"}],"c":[{"i":"c"}]}`), "snapshot": dynamo.Text(`{"v":1,"r":"?"}`), "state": dynamo.Text("{}"),
	})
	got, err := log.Load(t.Context(), "a", func(driver.SnapshotHead) bool { return true })
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v, want both commits", got, err)
	}
	var damage *driver.DamageError
	if !errors.As(got[1].SnapshotErr, &damage) || damage.Table != "snapshots" || damage.Name != table || damage.Key != "a" || damage.SequenceNr != 2 {
		t.Errorf("the error of the snapshot is %v", got[1].SnapshotErr)
	}
}

// A part of a stream must not be returned as the stream: a decision would be made on an
// old state.
func TestAFailureOnAnyPageFailsTheRead(t *testing.T) {
	t.Parallel()
	plain, table := open(t, nil, nil)
	for n := range uint64(9) { // of 300 KB: three pages
		c := commit("a", n+1, "c")
		c.Events[0].Data = json.RawMessage(`"` + strings.Repeat("x", 300<<10) + `"`)
		if err := plain.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for call := 1; call <= 4; call++ {
		for _, fault := range []awstest.Fault{awstest.Internal, awstest.ResetAfter, awstest.Throttle} {
			reads := map[string]func(*eventlog.Log) (int, error){
				"Load": func(l *eventlog.Log) (int, error) {
					cs, err := l.Load(t.Context(), "a", version(1))
					return len(cs), err
				},
				"Read": func(l *eventlog.Log) (int, error) { return count(l.Read(t.Context(), "a", 0, 0)) },
				"Scan": func(l *eventlog.Log) (int, error) { return count(l.Scan(t.Context(), 0, 1)) },
			}
			for name, read := range reads {
				faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: fault, Operations: []string{"DynamoDB.Query", "DynamoDB.Scan"}, Calls: []int{call}})
				n, err := read(eventlog.Open(awstest.DynamoDB(t).Clients(faults).DynamoDB, table, nil))
				switch failed := len(faults.Injected()) > 0; {
				case failed && !errors.Is(err, driver.ErrUnavailable) && !errors.Is(err, driver.ErrThrottled), failed && name == "Load" && n > 0:
					t.Errorf("%s with %v in call %d: %d commits, %v", name, fault, call, n, err)
				case !failed && (err != nil || n != 9 || call < 3):
					t.Errorf("%s without a failure in %d calls: %d commits, %v", name, call, n, err)
				}
			}
		}
	}
}

// count ranges over commits to the end or the first error.
func count(seq iter.Seq2[driver.Commit, error]) (n int, err error) {
	for _, err := range seq {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	log := eventlog.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", nil)
	awstest.Unavailable(t, log.Append(t.Context(), commit("a", 1, "c")))
}

// A request may fail after its effect. Writers that read the log after a failure lose
// nothing and write nothing twice.
func TestNothingAcknowledgedIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
			log, _ := open(t, faults, nil)
			const writers, each = 4, 25
			acknowledged := make([][]string, writers)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						id := fmt.Sprintf("w%d-%d", w, i)
						if err := write(t.Context(), log, id); err != nil {
							t.Errorf("%s: %v", id, err)
							return
						}
						acknowledged[w] = append(acknowledged[w], id)
					}
				})
			}
			wg.Wait()
			faults.Stop()
			written := map[string]int{}
			for c, err := range log.Read(t.Context(), "a", 0, 0) {
				if err != nil {
					t.Fatal(err)
				}
				written[c.Commands[0].Meta.ID]++
			}
			for _, ids := range acknowledged {
				for _, id := range ids {
					if written[id] != 1 {
						t.Errorf("command %s is in the log %d times (seed %d, faults %v)", id, written[id], seed, faults.Injected())
					}
				}
			}
			if len(written) != writers*each {
				t.Errorf("%d commands are in the log, want %d", len(written), writers*each)
			}
		})
	}
}

// write appends a command as the engine does: a conflict returns the commit that is
// already there.
func write(ctx context.Context, log *eventlog.Log, id string) error {
	for next := uint64(1); ; {
		err := log.Append(ctx, commit("a", next, id))
		var lost *driver.ConflictError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &lost):
			if lost.Winner.Commands[0].Meta.ID == id {
				return nil // the commit is this writer's own: only the response was lost
			}
			next++
		case ctx.Err() != nil || !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable):
			return err
		}
	}
}
