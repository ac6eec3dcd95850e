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

// Requests may fail before or after their effect: the rows are the result of applying
// each commit once.
func TestRowsHaveEachCommitOnceUnderFaults(t *testing.T) {
	t.Parallel()
	for _, spec := range []driver.TableSpec{shared, own} {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("%s seed %d", spec.Name, seed), func(t *testing.T) {
			t.Parallel()
			s := awstest.NewReadModels(t)
			faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
			// Half of the projectors have a client that retries failures.
			const projectors, streams, commits = 6, 4, 20
			var wg sync.WaitGroup
			for i := range projectors {
				client := awstest.DynamoDB(t).Clients(faults).DynamoDB
				if i%2 == 0 {
					client = awstest.DynamoDB(t).Patient(faults).DynamoDB
				}
				db := s.DbOf(t, client, spec, nil)
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
			db := s.Db(t, nil, spec, nil)
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

// changes returns what commit n of stream j adds to each row.
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

// project applies the commits of a stream as the engine does: after a failure it reads
// the watermark again.
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

// Every method returns the class of a failed request.
func TestFailuresHaveTheirClass(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	for fault, want := range map[awstest.Fault]error{
		awstest.Throttle: driver.ErrThrottled, awstest.Internal: driver.ErrUnavailable, awstest.Reset: driver.ErrUnavailable,
		awstest.Timeout: driver.ErrUnavailable, awstest.ResetAfter: driver.ErrUnavailable,
	} {
		faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: fault, Probability: 1})
		db := s.Db(t, faults, shared, nil)
		key := driver.Key{ID: "a"}
		_, load := db.Load(t.Context(), "a")
		_, loadRow := db.LoadRow(t.Context(), key)
		_, loadRows := db.LoadRows(t.Context(), []driver.Key{key})
		_, mark := db.Watermark(t.Context(), stream("a"))
		_, marks := db.Watermarks(t.Context(), []driver.StreamKey{stream("a")})
		for method, err := range map[string]error{
			"Load": load, "LoadRow": loadRow, "LoadRows": loadRows, "Watermark": mark, "Watermarks": marks,
			"Clear":   db.Clear(t.Context()),
			"Apply":   db.Apply(t.Context(), driver.Step{Advances: []driver.Advance{advance("a", 7)}, Writes: []driver.RowWrite{put(row("a", 1))}}),
			"Advance": db.Advance(t.Context(), []driver.Advance{advance("a", 7)}), "Block": db.Block(t.Context(), stream("a"), 7), "Unblock": db.Unblock(t.Context(), stream("a")),
		} {
			if !errors.Is(err, want) || errors.Is(err, driver.ErrConflict) {
				t.Errorf("%v in %s: got %v, want %v", fault, method, err, want)
			}
		}
	}
}

// Keys that the service keeps returning as unprocessed fail the call: their rows are not
// absent.
func TestRowsThatStayUnreadFailTheCall(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	var all []driver.Row
	var keys []driver.Key
	for i := range 40 {
		all = append(all, row(fmt.Sprint(i), i))
		keys = append(keys, all[i].Key)
	}
	awstest.Fill(t, s.Db(t, nil, shared, nil), all)
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Unprocessed, Probability: 1})
	if found, err := s.Db(t, faults, shared, nil).LoadRows(t.Context(), keys); !errors.Is(err, driver.ErrThrottled) || len(found) > 0 {
		t.Errorf("LoadRows of what stays unread: %d rows, %v", len(found), err)
	}
}
