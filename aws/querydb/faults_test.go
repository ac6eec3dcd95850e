package querydb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
)

// Projectors that are told of failures which are none, and of none where there was
// one, leave the rows that the fold of the commits has.
func TestRowsAreTheFoldOfTheCommitsUnderFaults(t *testing.T) {
	t.Parallel()
	for _, spec := range []driver.TableSpec{shared, own} {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("%s seed %d", spec.Name, seed), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			faults := awstest.NewFaults(
				nil, seed,
				awstest.Rule{Fault: awstest.Throttle, Probability: 0.05},
				awstest.Rule{Fault: awstest.Internal, Probability: 0.03},
				awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.05},
				awstest.Rule{Fault: awstest.Reset, Probability: 0.03},
				awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.05},
				awstest.Rule{Fault: awstest.TimeoutAfter, Probability: 0.05},
			)
			// Half of the projectors have a client that sends again what failed.
			const projectors, streams, commits = 6, 4, 20
			var wg sync.WaitGroup
			for i := range projectors {
				client := awstest.DynamoDB(t).Clients(faults).DynamoDB
				if i%2 == 0 {
					client = awstest.DynamoDB(t).Patient(faults).DynamoDB
				}
				db, err := s.OpenQueryDb(t.Context(), client, spec, nil)
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					for j := range streams {
						if err := project(t.Context(), db, spec, (i+j)%streams, commits); err != nil {
							t.Errorf("projector %d: %v", i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			faults.Stop()
			db, err := s.OpenQueryDb(t.Context(), awstest.DynamoDB(t).Clients(nil).DynamoDB, spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]int{}
			for j := range streams {
				for n := 1; n <= commits; n++ {
					for id, inc := range changes(spec, j, n) {
						want[id] += inc
					}
				}
				if mark, err := db.Watermark(t.Context(), stream(streamOf(j))); err != nil || mark.SequenceNr != commits {
					t.Errorf("the watermark of %s is %+v, %v, want %d", streamOf(j), mark, err, commits)
				}
			}
			for id, sum := range want {
				r, err := db.LoadRow(t.Context(), driver.Key{ID: id})
				if err != nil || sumOf(r) != sum {
					t.Errorf("row %s has %s, %v, want the sum %d (seed %d, faults %v)", id, r.Data, err, sum, seed, faults.Injected())
				}
			}
		})
	}
}

func streamOf(j int) string { return fmt.Sprintf("s%d", j) }

// changes are what commit n of stream j adds to which rows.
func changes(spec driver.TableSpec, j, n int) map[string]int {
	switch {
	case !spec.OwnRow:
		return map[string]int{fmt.Sprintf("row%d", n%3): n, fmt.Sprintf("row%d", 3+(n+j)%2): 1}
	case n%5 == 0:
		return nil
	}
	return map[string]int{streamOf(j): n}
}

func sumOf(r driver.Row) int {
	var v struct{ Sum int }
	if r.Data == nil {
		return 0
	}
	if err := json.Unmarshal(r.Data, &v); err != nil {
		return -1
	}
	return v.Sum
}

// project applies the commits of a stream as the engine does: after any failure it
// begins with the watermark again.
func project(ctx context.Context, db driver.QueryDb, spec driver.TableSpec, j, commits int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		done, err := projectNext(ctx, db, spec, j, commits)
		switch {
		case done:
			return nil
		case err == nil, errors.Is(err, driver.ErrConflict), errors.Is(err, driver.ErrThrottled), errors.Is(err, driver.ErrUnavailable):
		default:
			return err
		}
	}
}

func projectNext(ctx context.Context, db driver.QueryDb, spec driver.TableSpec, j, commits int) (done bool, err error) {
	mark, err := db.Watermark(ctx, stream(streamOf(j)))
	if err != nil || mark.SequenceNr == uint64(commits) {
		return err == nil, err
	}
	step := driver.Step{Advances: []driver.Advance{advance(streamOf(j), mark.SequenceNr)}}
	var keys []driver.Key
	incs := changes(spec, j, int(mark.SequenceNr)+1)
	for id := range incs {
		keys = append(keys, driver.Key{ID: id})
	}
	found, err := db.LoadRows(ctx, keys)
	if err != nil {
		return false, err
	}
	now := map[driver.Key]driver.Row{}
	for _, r := range found {
		now[r.Key] = r
	}
	for _, key := range keys {
		old := now[key]
		step.Writes = append(step.Writes, driver.RowWrite{
			Row:   driver.Row{Key: key, Data: json.RawMessage(fmt.Sprintf(`{"sum":%d}`, sumOf(old)+incs[key.ID]))},
			Guard: true, Expect: old.Revision,
		})
	}
	return false, db.Apply(ctx, step)
}

// Each failure of a request has its class in whatever call meets it.
func TestFailuresHaveTheirClass(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for fault, want := range map[awstest.Fault]error{
		awstest.Throttle: driver.ErrThrottled, awstest.Internal: driver.ErrUnavailable, awstest.Reset: driver.ErrUnavailable,
		awstest.Timeout: driver.ErrUnavailable, awstest.ResetAfter: driver.ErrUnavailable,
	} {
		faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: fault, Probability: 1})
		db, err := s.OpenQueryDb(t.Context(), awstest.DynamoDB(t).Clients(faults).DynamoDB, shared, nil)
		if err != nil {
			t.Fatal(err)
		}
		key := driver.Key{ID: "a"}
		_, load := db.Load(t.Context(), "a")
		_, loadRow := db.LoadRow(t.Context(), key)
		_, loadRows := db.LoadRows(t.Context(), []driver.Key{key})
		_, count := db.Count(t.Context(), key, "n", 1)
		_, mark := db.Watermark(t.Context(), stream("a"))
		_, marks := db.Watermarks(t.Context(), []driver.StreamKey{stream("a")})
		for method, err := range map[string]error{
			"Load": load, "LoadRow": loadRow, "LoadRows": loadRows, "Count": count, "Watermark": mark, "Watermarks": marks,
			"Save": db.Save(t.Context(), row("a", 1), driver.Init), "SaveBatch": db.SaveBatch(t.Context(), []driver.Row{row("a", 1)}),
			"Delete": db.Delete(t.Context(), key), "DeleteBatch": db.DeleteBatch(t.Context(), []driver.Key{key}), "Clear": db.Clear(t.Context()),
			"Apply":   db.Apply(t.Context(), driver.Step{Advances: []driver.Advance{advance("a", 7)}, Writes: []driver.RowWrite{put(row("a", 1))}}),
			"Advance": db.Advance(t.Context(), []driver.Advance{advance("a", 7)}), "Block": db.Block(t.Context(), stream("a"), 7), "Unblock": db.Unblock(t.Context(), stream("a")),
		} {
			if !errors.Is(err, want) || errors.Is(err, driver.ErrConflict) {
				t.Errorf("%v in %s: got %v, want %v", fault, method, err, want)
			}
		}
	}
}

// A batch that the service keeps handing back ends, and says what is not done.
func TestWhatStaysUndoneIsNamed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	db, err := s.OpenQueryDb(t.Context(), awstest.DynamoDB(t).Clients(nil).DynamoDB, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	var keys []driver.Key
	for i := range 40 {
		keys = append(keys, driver.Key{ID: fmt.Sprint(i)})
		if err := db.Save(t.Context(), row(fmt.Sprint(i), i), driver.Any); err != nil {
			t.Fatal(err)
		}
	}
	// The first chunk of 25 is done, the second never.
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Unprocessed, Calls: []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}})
	stuck, err := s.OpenQueryDb(t.Context(), awstest.DynamoDB(t).Clients(faults).DynamoDB, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = stuck.DeleteBatch(t.Context(), keys)
	var batch *driver.BatchError
	if !errors.As(err, &batch) || !errors.Is(err, driver.ErrThrottled) {
		t.Fatalf("DeleteBatch: %v, want a *BatchError of what is throttled", err)
	}
	for i, key := range keys {
		_, err := db.LoadRow(t.Context(), key)
		if failed := batch.Failed[key.String()] != nil; failed != (i >= 25) || failed != (err == nil) {
			t.Errorf("row %d: it failed: %t, it is there: %t", i, failed, err == nil)
		}
	}
	if _, err := stuck.LoadRows(t.Context(), keys); err != nil {
		t.Errorf("the first call of LoadRows: %v", err)
	}
	if found, err := stuck.LoadRows(t.Context(), keys); !errors.Is(err, driver.ErrThrottled) {
		t.Errorf("LoadRows of what stays unread: %d rows, %v", len(found), err)
	}
}

// A count whose answer is lost is not made again behind the caller's back.
func TestACountIsNotRepeatedByTheSDK(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.ResetAfter, Operations: []string{"DynamoDB.UpdateItem"}, Calls: []int{1}})
	db, err := s.OpenQueryDb(t.Context(), awstest.DynamoDB(t).Patient(faults).DynamoDB, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Count(t.Context(), driver.Key{ID: "a"}, "n", 1); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Count: %v, want unavailable", err)
	}
	if v, err := db.Count(t.Context(), driver.Key{ID: "a"}, "n", 0); err != nil || v != 1 {
		t.Errorf("the count is %d, %v, want 1", v, err)
	}
}
