package lambdarunner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

func (r delivered) key() string { return r.DynamoDB.Keys.ID["S"] + r.DynamoDB.Keys.N["N"] }

// keys returns the keys of each batch.
func keys(calls []call) (all []string) {
	for _, c := range calls {
		var batch []string
		for _, r := range c.Records {
			batch = append(batch, r.key())
		}
		all = append(all, strings.Join(batch, " "))
	}
	return all
}

func (b *bench) streamed(function string, o lambdarunner.StreamMapping) (table string) {
	b.t.Helper()
	table = b.table()
	if err := b.Stream(function, table, o); err != nil {
		b.t.Fatal(err)
	}
	return table
}

func TestStreamEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, true, func(call) order { return order{} })
	b.function(lambdarunner.Function{Name: "f"})
	table := b.streamed("f", lambdarunner.StreamMapping{})
	b.put(table, "a", 1, 10)
	b.put(table, "a", 1, 11)
	b.Start()
	b.idle()
	calls := b.seen()
	if got, want := keys(calls), []string{"a1 a1"}; !slices.Equal(got, want) {
		t.Fatalf("batches are %q, want %q", got, want)
	}
	var e events.DynamoDBEvent
	if err := json.Unmarshal(calls[0].Payload, &e); err != nil {
		t.Fatal(err)
	}
	for i, kind := range []string{"INSERT", "MODIFY"} {
		r := e.Records[i]
		if r.EventName != kind || r.EventID == "" || r.EventVersion != "1.1" || r.EventSource != "aws:dynamodb" || r.AWSRegion != awstest.Region ||
			!strings.HasPrefix(r.EventSourceArn, "arn:aws:dynamodb:"+awstest.Region+":"+awstest.Account+":table/"+table+"/stream/20") {
			t.Errorf("the record is %+v", r)
		}
		c := r.Change
		if c.SequenceNumber == "" || c.SizeBytes == 0 || c.StreamViewType != "NEW_AND_OLD_IMAGES" || time.Since(c.ApproximateCreationDateTime.Time).Abs() > time.Hour {
			t.Errorf("the change is %+v", c)
		}
		if v := c.NewImage["value"].Number(); v != fmt.Sprint(10+i) {
			t.Errorf("the value is %s", v)
		}
		if v := c.NewImage["bytes"].Binary(); string(v) != "\x00\xff" {
			t.Errorf("the bytes are %x", v)
		}
	}
	if v := e.Records[1].Change.OldImage["value"].Number(); v != "10" {
		t.Errorf("the old value is %s", v)
	}
}

func TestStreamContinuesAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	n := 0
	b := newBench(t, lambdarunner.Options{}, true, func(c call) order {
		n++
		switch n {
		case 1:
			return failures(c.Records[4].DynamoDB.SequenceNumber, c.Records[2].DynamoDB.SequenceNumber)
		case 2:
			return failures("4711") // fails the whole batch
		case 3:
			return order{Error: "no"}
		}
		return order{Answer: []byte(`{"batchItemFailures":null}`)}
	})
	b.function(lambdarunner.Function{Name: "f"})
	table := b.streamed("f", lambdarunner.StreamMapping{BatchSize: 6})
	for i := range 8 {
		b.put(table, "a", i, 0)
	}
	b.Start()
	b.idle()
	want := []string{"a0 a1 a2 a3 a4 a5", "a2 a3 a4 a5", "a2 a3 a4 a5", "a2 a3 a4 a5", "a6 a7"}
	if got := keys(b.seen()); !slices.Equal(got, want) {
		t.Errorf("batches are %q, want %q", got, want)
	}
	if d := b.Dropped(); len(d) != 0 {
		t.Errorf("dropped %v", d)
	}
}

// poison fails batches with the item a3: as a whole, or from that item on.
func poison(partial bool) func(call) order {
	return func(c call) order {
		at := slices.IndexFunc(c.Records, func(r delivered) bool { return r.key() == "a3" })
		switch {
		case at < 0:
			return failures()
		case partial:
			return failures(c.Records[at].DynamoDB.SequenceNumber)
		}
		return order{Error: "poison"}
	}
}

func TestStreamDropsRecordsThatKeepFailing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		mapping lambdarunner.StreamMapping
		partial bool
		batches []string
		dropped string
	}{
		{
			"as a whole",
			lambdarunner.StreamMapping{MaxRetries: 2, BatchSize: 5},
			false,
			[]string{"a0 a1 a2 a3 a4", "a0 a1 a2 a3 a4", "a0 a1 a2 a3 a4", "a5"},
			"a0 a1 a2 a3 a4",
		},
		{
			"from the first failure",
			lambdarunner.StreamMapping{MaxRetries: 2, BatchSize: 5},
			true,
			[]string{"a0 a1 a2 a3 a4", "a3 a4", "a3 a4", "a5"},
			"a3 a4",
		},
		{
			"halved",
			lambdarunner.StreamMapping{MaxRetries: 1, BatchSize: 5, Bisect: true},
			false,
			[]string{"a0 a1 a2 a3 a4", "a0 a1", "a2 a3 a4 a5", "a2 a3", "a2", "a3 a4 a5", "a3", "a3", "a4 a5"},
			"a3",
		},
		{
			"halved from the first failure",
			lambdarunner.StreamMapping{MaxRetries: 1, BatchSize: 5, Bisect: true},
			true,
			[]string{"a0 a1 a2 a3 a4", "a3 a4", "a3", "a3", "a4 a5"},
			"a3",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, lambdarunner.Options{}, true, poison(test.partial))
			b.function(lambdarunner.Function{Name: "f"})
			table := b.streamed("f", test.mapping)
			for i := range 6 {
				b.put(table, "a", i, 0)
			}
			b.Start()
			b.idle()
			if got := keys(b.seen()); !slices.Equal(got, test.batches) {
				t.Errorf("batches are %q, want %q", got, test.batches)
			}
			d := b.Dropped()
			if len(d) != 1 || d[0].Function != "f" || d[0].Table != table || (d[0].Err == nil) != test.partial {
				t.Fatalf("dropped %v", d)
			}
			var c call
			for _, text := range d[0].Records {
				var r delivered
				if err := json.Unmarshal(text, &r); err != nil {
					t.Fatal(err)
				}
				c.Records = append(c.Records, r)
			}
			if got := keys([]call{c})[0]; got != test.dropped {
				t.Errorf("dropped %q, want %q", got, test.dropped)
			}
		})
	}
}

// Shards progress independently: only the records of one item are in order.
func TestShuffledStreamKeepsOrderOfItemsOnly(t *testing.T) {
	t.Parallel()
	const seed, items, each = 3, 20, 10
	var mu sync.Mutex
	at := map[string]int{}
	var arrived []int
	b := newBench(t, lambdarunner.Options{Seed: seed, Faults: lambdarunner.Faults{
		Shuffle: true, Duplicate: 0.1, LoseAnswer: 0.1, Kill: 0.05, Throttle: 0.1,
	}}, true, func(c call) order {
		var e events.DynamoDBEvent
		if err := json.Unmarshal(c.Payload, &e); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for i, r := range e.Records {
			n, err := r.Change.NewImage["value"].Integer()
			if err != nil {
				t.Error(err)
			}
			if i == 13 { // some records fail
				return failures(r.Change.SequenceNumber)
			}
			key := c.Records[i].key()
			round := int(n) / items
			switch {
			case round > at[key]:
				t.Errorf("seed %d: %s received round %d, want %d", seed, key, round, at[key])
			case round == at[key]:
				at[key]++
				arrived = append(arrived, int(n))
			}
		}
		return failures()
	})
	b.function(lambdarunner.Function{Name: "f"})
	table := b.streamed("f", lambdarunner.StreamMapping{})
	b.Start()
	for round := range each {
		for i := range items {
			b.put(table, fmt.Sprint("i", i%4), i, round*items+i)
		}
	}
	b.idle()
	mu.Lock()
	defer mu.Unlock()
	if len(arrived) != items*each {
		t.Errorf("seed %d: %d of %d records were handled", seed, len(arrived), items*each)
	}
	if slices.IsSorted(arrived) {
		t.Errorf("seed %d: all records arrived in order", seed)
	}
	if d := b.Dropped(); len(d) != 0 {
		t.Errorf("seed %d: dropped %v", seed, d)
	}
	t.Logf("%+v", b.Stats()["f"])
}

func TestDuplicateFaultOfAStream(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{Faults: lambdarunner.Faults{Duplicate: 1}}, true, func(call) order { return order{} })
	b.function(lambdarunner.Function{Name: "f"})
	table := b.streamed("f", lambdarunner.StreamMapping{})
	b.put(table, "a", 1, 0)
	b.Start()
	await(t, "three duplicates", func() bool { return b.Stats()["f"].Duplicates >= 3 })
	b.StopFaults()
	b.idle()
	if s := b.Stats()["f"]; s.Invocations != s.Duplicates+1 || len(b.seen()) != s.Invocations {
		t.Errorf("stats are %+v", s)
	}
}

func TestStreamHasAtMostTwoReaders(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, true, echo)
	b.function(lambdarunner.Function{Name: "f"})
	table := b.streamed("f", lambdarunner.StreamMapping{})
	if err := b.Stream("f", table, lambdarunner.StreamMapping{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Stream("f", table, lambdarunner.StreamMapping{}); err == nil {
		t.Error("a third reader was accepted")
	}
	if err := b.Stream("f", awstest.Stack(), lambdarunner.StreamMapping{}); err == nil {
		t.Error("a table that does not exist was accepted")
	}
}
