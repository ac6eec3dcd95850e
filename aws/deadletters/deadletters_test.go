package deadletters_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/deadletters"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func TestDeadLetters(t *testing.T) {
	awstest.TestStores(t, drivertest.TestDeadLetters, 3, awstest.Mix(), nil)
}

// open returns an empty store and the name of its table.
func open(t *testing.T, transport http.RoundTripper, opts *deadletters.Options) (*deadletters.Letters, string) {
	t.Helper()
	table := awstest.TableOf(t, naming.DeadLetters, topology.Component{})
	return deadletters.Open(awstest.DynamoDB(t).Clients(transport).DynamoDB, table, opts), table
}

func letter(id string, size int) driver.DeadLetter {
	return driver.DeadLetter{ID: id, Component: "Test.Thing", Kind: driver.DeadRaw, Body: bytes.Repeat([]byte{0xff, 1}, size/2), Reason: "it failed", Attempts: 3}
}

// items returns how many items the table has.
func items(t *testing.T, table string) int {
	t.Helper()
	n := 0
	pages := dynamodb.NewScanPaginator(awstest.DynamoDB(t).Clients(nil).DynamoDB, &dynamodb.ScanInput{TableName: &table})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += len(out.Items)
	}
	return n
}

func TestCosts(t *testing.T) {
	t.Parallel()
	costs := awstest.NewCosts(nil)
	d, table := open(t, costs, &deadletters.Options{Spent: costs.Spent})
	cost := func(what string, requests int, units float64, f func() error) {
		t.Helper()
		costs.AtMost(t, what, requests, units, f)
	}
	get := func(id string) func() error {
		return func() error { _, err := d.Get(t.Context(), id); return err }
	}
	cost("parking a small dead letter", 1, 1, func() error { return d.Park(t.Context(), letter("small", 500)) })
	cost("getting it", 1, 1, get("small"))
	cost("parking 1 MiB", 4, 1030, func() error { return d.Park(t.Context(), letter("large", 1<<20)) })
	cost("getting it", 3, 260, get("large")) // a page of a query has at most 1 MB
	cost("removing it", 2, 1030, func() error { return d.Remove(t.Context(), "large") })
	for i := range 50 {
		if err := d.Park(t.Context(), letter(fmt.Sprintf("n%02d", i), 100)); err != nil {
			t.Fatal(err)
		}
	}
	cost("listing 50", 1, 4, func() error { _, err := d.List(t.Context(), "", "", 50); return err })
	cost("listing those of another component", 1, 4, func() error { _, err := d.List(t.Context(), "Test.Other", "", 50); return err })
	if n := items(t, table); n != 51 {
		t.Errorf("the table has %d items, want those of 51 dead letters", n)
	}
}

// The id of a dead letter may have any length and any bytes.
func TestDeadLettersOfAnyIDAreKeptInOrder(t *testing.T) {
	t.Parallel()
	d, _ := open(t, nil, nil)
	long := "command/Test.Thing/" + strings.Repeat("e", 1024) + "/"
	var ids []string
	for i := range 30 {
		ids = append(ids, long+strings.Repeat(fmt.Sprint(i*7%30), 400), fmt.Sprintf("z%d", i))
	}
	ids = append(ids, "\xff", "a\x00b", "a\xc3", long[:960], long[:961], long[:959], strings.Repeat("\xfe", 5000))
	for _, id := range ids {
		l := letter(id, 10)
		l.Stream, l.Reason = id, "it is \xff"
		if err := d.Park(t.Context(), l); err != nil {
			t.Fatalf("park %.30q: %v", id, err)
		}
		if got, err := d.Get(t.Context(), id); err != nil || got.ID != id || got.Stream != id || got.Reason != l.Reason {
			t.Errorf("got %.30q, %v, want %.30q", got.ID, err, id)
		}
	}
	slices.Sort(ids)
	for _, component := range []string{"", "Test.Thing"} {
		for _, limit := range []int{1, 3, 1000} {
			var got []string
			for after := ""; ; {
				list, err := d.List(t.Context(), component, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(list) == 0 {
					break
				}
				for _, l := range list {
					got = append(got, l.ID)
				}
				after = got[len(got)-1]
			}
			if !slices.Equal(got, ids) {
				t.Errorf("in pages of %d there are %d dead letters, want %d in order", limit, len(got), len(ids))
			}
		}
	}
}

// Replacing or removing a dead letter deletes its old body.
func TestOldBodiesAreDeleted(t *testing.T) {
	t.Parallel()
	d, table := open(t, nil, nil)
	for _, size := range []int{900_000, 400_000, 10, 0, 700_000} {
		l := letter("a", size)
		if err := d.Park(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Get(t.Context(), "a"); err != nil || !bytes.Equal(got.Body, l.Body) {
			t.Errorf("parked %d bytes, got %d: %v", size, len(got.Body), err)
		}
	}
	if n := items(t, table); n != 3 {
		t.Errorf("the table has %d items, want the dead letter and two of its body", n)
	}
	if err := d.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if n := items(t, table); n != 0 {
		t.Errorf("%d items are left", n)
	}
}

// A reader that runs concurrently with a writer gets the whole old dead letter or the
// whole new one.
func TestReadersSeeWholeDeadLetters(t *testing.T) {
	t.Parallel()
	d, _ := open(t, nil, nil)
	if err := d.Park(t.Context(), letter("a", 400_000)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 20 {
			l := letter("a", 0)
			l.Body = bytes.Repeat([]byte{byte(i)}, 390_000+i)
			if err := d.Park(t.Context(), l); err != nil {
				t.Errorf("park: %v", err)
			}
		}
	})
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		list, err := d.List(t.Context(), "Test.Thing", "", 10)
		if err != nil || len(list) != 1 {
			t.Errorf("list: %d dead letters, %v", len(list), err)
			break
		}
		if b := list[0].Body; len(b) != 400_000 && len(b) != 390_000+int(b[0]) {
			t.Errorf("a body has %d bytes of %d", len(b), b[0])
		}
	}
	wg.Wait()
}

func TestDeadLetterThatIsTooLargeWithoutItsBodyIsNotSent(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	d, _ := open(t, requests, nil)
	l := letter("a", 10)
	l.Stream = strings.Repeat("x", 400<<10)
	var large *driver.TooLargeError
	if err := d.Park(t.Context(), l); !errors.As(err, &large) || requests.Of() != 0 {
		t.Errorf("got %v after %d requests, want too large", err, requests.Of())
	}
}

// The SDK repeats a put whose answer was lost: the dead letter replaces itself.
func TestRepeatedParkKeepsTheBody(t *testing.T) {
	t.Parallel()
	table := awstest.TableOf(t, naming.DeadLetters, topology.Component{})
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.ResetAfter, Operations: []string{"DynamoDB.PutItem"}, Calls: []int{2}})
	d := deadletters.Open(awstest.DynamoDB(t).Patient(faults).DynamoDB, table, nil)
	want := letter("a", 5000)
	if err := d.Park(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Get(t.Context(), "a"); err != nil || !bytes.Equal(got.Body, want.Body) || faults.Injected()["ResetAfter"] != 1 {
		t.Errorf("got %d bytes, %v (faults %v)", len(got.Body), err, faults.Injected())
	}
}

func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	d, table := open(t, nil, nil)
	text, number := dynamo.Text, dynamo.Number(1)
	for id, item := range map[string]dynamo.Item{
		"bare": {},
		"time": {"seq": number, "attempts": number, "size": number, "at": text("today")},
		"kind": {"seq": number, "attempts": number, "size": number, "kind": number},
		"part": {"seq": number, "attempts": number, "size": number, "bodyId": text("gone")},
	} {
		if err := d.Park(t.Context(), letter("good", 10)); err != nil {
			t.Fatal(err)
		}
		item[deadletters.Partition], item[deadletters.Sort], item["id"] = text("letters"), &types.AttributeValueMemberB{Value: []byte(id)}, text(id)
		awstest.Foreign(t, table, item)
		_, get := d.Get(t.Context(), id)
		_, list := d.List(t.Context(), "", "", 10)
		for method, err := range map[string]error{"Get": get, "List": list} {
			awstest.Damaged(t, method, err, id, table)
		}
		if got, err := d.Get(t.Context(), "good"); err != nil || got.ID != "good" {
			t.Errorf("beside the foreign %s the other dead letter is %+v, %v", id, got, err)
		}
		// It can be removed like any other.
		if err := d.Remove(t.Context(), id); err != nil {
			t.Errorf("Remove of the foreign %s: %v", id, err)
		}
		if list, err := d.List(t.Context(), "", "", 10); err != nil || len(list) != 1 {
			t.Errorf("then there are %d dead letters, %v", len(list), err)
		}
	}
}

// A missing table is not reported as a missing dead letter.
func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	d := deadletters.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", nil)
	_, get := d.Get(t.Context(), "a")
	_, list := d.List(t.Context(), "", "", 1)
	awstest.Unavailable(t, get, list, d.Remove(t.Context(), "a"))
}

// A dead letter that is parked until the call succeeds is stored whole.
func TestNothingParkedIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
	d, _ := open(t, faults, nil)
	random := rand.New(rand.NewPCG(seed, 0))
	want := map[string][]byte{}
	for i := range 80 {
		l := letter(fmt.Sprint(random.IntN(30)), []int{0, 10, 2000, 400_000}[random.IntN(4)])
		l.Attempts = i
		remove := random.IntN(5) == 0
		persist := func() error {
			err := d.Park(t.Context(), l)
			if remove {
				err = d.Remove(t.Context(), l.ID)
			}
			return err
		}
		if !awstest.Persist(t, persist) {
			return
		}
		want[l.ID] = l.Body
		if remove {
			delete(want, l.ID)
		}
	}
	faults.Stop()
	list, err := d.List(t.Context(), "", "", 1000)
	if err != nil || len(list) != len(want) {
		t.Errorf("%d dead letters are stored, want %d: %v (seed %d, faults %v)", len(list), len(want), err, seed, faults.Injected())
	}
	for _, l := range list {
		if !bytes.Equal(l.Body, want[l.ID]) {
			t.Errorf("dead letter %s has %d bytes, want %d (seed %d)", l.ID, len(l.Body), len(want[l.ID]), seed)
		}
	}
}

// The zero time is kept, and so is any other time in any zone.
func TestTimesAreKept(t *testing.T) {
	t.Parallel()
	d, _ := open(t, nil, nil)
	for _, at := range []time.Time{{}, time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", 3600))} {
		l := letter("a", 1)
		l.ParkedAt = at
		if err := d.Park(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Get(t.Context(), "a"); err != nil || !got.ParkedAt.Equal(at) {
			t.Errorf("got %v, %v, want %v", got.ParkedAt, err, at)
		}
	}
}
