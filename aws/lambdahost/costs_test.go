package lambdahost

import (
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
)

// bill counts requests by operation and consumed units of DynamoDB.
type bill struct {
	*awstest.Counter
	mu    sync.Mutex
	units map[string]float64
}

// billed returns a bill for the functions that are started afterwards.
func (s *stack) billed() *bill {
	b := &bill{Counter: awstest.NewCounter(nil), units: map[string]float64{}}
	s.spent = func(operation string, c *types.ConsumedCapacity) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if c != nil && c.CapacityUnits != nil {
			b.units[operation] += *c.CapacityUnits
		}
	}
	return b
}

// of returns the costs of f.
func (b *bill) of(f func()) (requests map[string]int, units map[string]float64) {
	b.Reset()
	b.mu.Lock()
	clear(b.units)
	b.mu.Unlock()
	f()
	b.mu.Lock()
	defer b.mu.Unlock()
	units = map[string]float64{}
	for operation, n := range b.units {
		units[operation] = n
	}
	return b.All(), units
}

func wantCosts(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s costs %v, want %v", what, got, want)
	}
}

func TestCostsOfCommand(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.billed()
	f := s.start("api", b)
	n := 0
	send := func(f *function) func() {
		return func() {
			n++
			if r := f.ask(`{"operation":"send","command":` + put("P.Jar", "a", fmt.Sprint("c", n), 1) + `}`); r.Error != nil {
				t.Fatal(r.Error)
			}
		}
	}
	requests, units := b.of(send(f))
	wantCosts(t, "a cold command", requests, map[string]int{"DynamoDB.PutItem": 1, "DynamoDB.Query": 1})
	wantCosts(t, "a small commit", units["Append"], 1.0)
	requests, units = b.of(send(f))
	wantCosts(t, "a warm command", requests, map[string]int{"DynamoDB.PutItem": 1})
	wantCosts(t, "a warm command", units, map[string]float64{"Append": 1})
	other := s.start("api", b)
	send(other)()
	requests, _ = b.of(send(f)) // the cached state of f is outdated
	wantCosts(t, "a lost race", requests, map[string]int{"DynamoDB.PutItem": 2})
}

func TestCostsOfBatchOfOneEntity(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.billed()
	f := s.start("commands/P", b)
	var batch []map[string]any
	for i := range 10 {
		batch = append(batch, s.messageOf(naming.Commands, "P.Jar", fmt.Sprint("m", i), "a", put("P.Jar", "a", fmt.Sprint("c", i), i+1)))
	}
	requests, _ := b.of(func() { f.handles(records(batch...)) })
	wantCosts(t, "ten commands of one entity", requests, map[string]int{"DynamoDB.PutItem": 1, "DynamoDB.Query": 1})
	if got := f.commits("P.Jar", "a"); got != 1 {
		t.Errorf("the batch became %d commits, want one", got)
	}
}

func TestCostsOfProjection(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	s.fill(commands, "a", 1, 2)
	b := s.billed()
	f := s.start("projections/P", b)
	for n := range uint64(2) {
		event := records(s.change(commands, "P.Box", "a", n+1, fmt.Sprint(100+n)))
		requests, units := b.of(func() { f.handles(event) })
		// Boxes stores its watermarks in its rows: one update. BoxTotal has a row that all
		// streams share: a transaction of the row and the watermark with two units each.
		writes := map[string]int{}
		for operation, n := range requests {
			if operation != "DynamoDB.BatchGetItem" && operation != "DynamoDB.GetItem" && operation != "DynamoDB.Query" {
				writes[operation] = n
			}
		}
		wantCosts(t, "a commit in both read models", writes, map[string]int{"DynamoDB.TransactWriteItems": 1, "DynamoDB.UpdateItem": 1})
		wantCosts(t, "an own row", units["UpdateItem"], 1.0)
		wantCosts(t, "a shared row", units["TransactWriteItems"], 2.0*(1+1))
	}
}
