package commandtopic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/aws/commandtopic"
	"github.com/reventless-go/reventless/aws/internal/awsstack"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

type (
	put    struct{}
	refuse struct{}
	added  struct{}
)

func (put) MessageType() string    { return "Put" }
func (refuse) MessageType() string { return "Refuse" }
func (added) MessageType() string  { return "Added" }

var jar = aggregate.New(aggregate.Spec[int, message.Typed, message.Typed]{
	Name:     "Jar",
	Commands: message.NewSet[message.Typed](put{}, refuse{}),
	Events:   message.NewSet[message.Typed](added{}),
	Decide: func(_ int, c message.Typed) ([]message.Typed, error) {
		if _, ok := c.(refuse); ok {
			return nil, message.Reject("No")
		}
		return []message.Typed{added{}}, nil
	},
	Evolve: func(n int, _ message.Typed) int { return n + 1 },
	Async:  true,
})

// unstored is a provider whose logs do not take the commits of one stream until
// they are repaired.
type unstored struct {
	driver.Provider
	stream   string
	repaired atomic.Bool
}

func (p *unstored) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	l, err := p.Provider.OpenEventLog(ctx, name)
	return &unstoredLog{l, p}, err
}

type unstoredLog struct {
	driver.EventLog
	p *unstored
}

func (l *unstoredLog) Append(ctx context.Context, c driver.Commit) error {
	if c.Stream == l.p.stream && !l.p.repaired.Load() {
		return errors.New("the disk is full")
	}
	return l.EventLog.Append(ctx, c)
}

// A batch of ten with one that is no command, one that is refused, one that could
// not be stored and one whose answer was lost, in any order: each ends by itself, by
// its own id.
func TestOneBadCommandOfABatchHarmsNoOther(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	tables, queues := awstest.DynamoDB(t).Patient(nil), awstest.MiniStack(t).Patient(nil)
	p := &unstored{Provider: awsstack.New(t, time.Minute).Provider(tables, queues, time.Now), stream: "e3"}
	app := reventless.New("shop", plugin.New(plugin.Spec{Name: "Shop", Components: plugin.Components{jar}}))
	h, err := host.Open(t.Context(), app.Assembled(), p, &host.Options{
		Logger: slog.New(slog.DiscardHandler), Backoff: func(int) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	_, store, url := open(t, nil, 4*time.Second)
	// The answer to the first settling is lost, after its effect or before it.
	faults := awstest.NewFaults(awstest.Transport(), 1, awstest.Rule{Fault: awstest.InternalAfter, Operations: []string{"SQS.DeleteMessageBatch"}, Calls: []int{1}},
		awstest.Rule{Fault: awstest.Internal, Operations: []string{"SQS.DeleteMessageBatch"}, Calls: []int{2}})
	topic := commandtopic.Open(awstest.MiniStack(t).Clients(faults).SQS, url, &commandtopic.Options{Wait: time.Second})

	of := func(i int, typ string) driver.Command {
		return driver.Command{Target: "Shop.Jar", Entity: fmt.Sprintf("e%d", i), Type: typ, Version: 1, Data: json.RawMessage(`{}`), Meta: driver.Meta{ID: fmt.Sprintf("c%d", i)}}
	}
	if err := store.Put(t.Context(), url, "no command", "g", "x"); err != nil {
		t.Fatal(err)
	}
	var cs []driver.Command
	for i := range 9 {
		cs = append(cs, of(i, "Put"))
	}
	cs[2].Type = "Refuse"
	if err := topic.Send(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	handle := func() []string {
		t.Helper()
		batch, err := topic.Receive(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		random.Shuffle(len(batch.Deliveries), reflect.Swapper(batch.Deliveries)) // each is of a group of its own
		ends, err := h.HandleCommands(t.Context(), "Shop.Jar", batch.Deliveries)
		if err != nil {
			t.Fatal(err)
		}
		random.Shuffle(len(ends), reflect.Swapper(ends))
		_ = topic.Settle(t.Context(), ends) // what it could not end comes again
		var ids []string
		for _, d := range batch.Deliveries {
			ids = append(ids, d.Message.Meta.ID)
		}
		return ids
	}
	if got := handle(); len(got) != 10 {
		t.Fatalf("the first batch has %v, want all ten", got)
	}
	if got := handle(); len(got) != 1 || got[0] != "c3" {
		t.Errorf("then came %v, want the one that was not stored", got)
	}
	p.repaired.Store(true)
	handle()
	end := time.Now().Add(time.Minute)
	for quiet := 0; quiet < 6; quiet++ { // for longer than anything is held
		if len(handle()) > 0 {
			quiet = -1
		}
		if time.Now().After(end) {
			t.Fatal("commands come again and again")
		}
	}
	log, _ := h.EventLog("Shop.Jar")
	for i := range 9 {
		want := 1
		if i == 2 {
			want = 0
		}
		n := 0
		for _, err := range log.Read(t.Context(), fmt.Sprintf("e%d", i), 0) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("e%d has %d commits, want %d", i, n, want)
		}
	}
	if o, err := h.Outcome(t.Context(), "c2"); err != nil || o.Kind != driver.Rejected || o.Code != "No" {
		t.Errorf("the refused command has the outcome %+v, %v", o, err)
	}
	letters, err := h.DeadLetters().List(t.Context(), "", "", 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("there are %d letters, want 1: %v", len(letters), err)
	}
	var c driver.Command
	var kept string
	if err := json.Unmarshal(letters[0].Body, &c); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(c.Data, &kept); err != nil || kept != "no command" {
		t.Errorf("the letter holds %s, want what came", letters[0].Body)
	}
}
