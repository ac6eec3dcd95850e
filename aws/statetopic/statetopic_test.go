package statetopic_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstables"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/aws/statetopic"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// topics adds the topics to a provider of read models.
type topics struct {
	driver.Provider
	store   *awstables.Store
	streams streams.API
	now     func() time.Time

	mu     sync.Mutex
	topics map[string]*statetopic.Topic
}

func (p *topics) OpenStateTopic(ctx context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	if _, err := p.OpenQueryDb(ctx, spec); err != nil { // its table has to be there
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topics[spec.Name] == nil {
		p.topics[spec.Name] = statetopic.Open(p.streams, p.store.Table("rows", spec.Name), spec,
			&statetopic.Options{Interval: 5 * time.Millisecond, Now: p.now})
	}
	return p.topics[spec.Name], nil
}

func fixture(t *testing.T, e *awstest.Emulator, api streams.API) *drivertest.Fixture {
	client := e.Clients(nil).DynamoDB
	store := awstables.NewStore(t, client, awstest.Stack())
	f := store.Fixture(client)
	f.Provider = &topics{Provider: f.Provider, store: store, streams: api, now: f.Now, topics: map[string]*statetopic.Topic{}}
	f.Reopen, f.Lag = nil, 200*time.Millisecond
	return f
}

func TestStateTopic(t *testing.T) {
	t.Parallel()
	drivertest.TestStateTopic(t, func(t *testing.T) *drivertest.Fixture {
		return fixture(t, awstest.DynamoDB(t), awstest.DynamoDB(t).Clients(nil).Streams)
	})
}

// MiniStack has streams of its own making.
func TestStateTopicOnMiniStack(t *testing.T) {
	t.Parallel()
	drivertest.TestStateTopic(t, func(t *testing.T) *drivertest.Fixture {
		return fixture(t, awstest.MiniStack(t), awstest.MiniStack(t).Clients(nil).Streams)
	})
}

// A topic reads again by itself: nobody is there to do so for it.
func TestStateTopicUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 1, drivertest.TestStateTopic, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixture(t, awstest.DynamoDB(t), awstest.DynamoDB(t).Clients(faults).Streams)
	}, awstest.Mix()...)
}

// A table may hold what others wrote: its changes are passed over, and said.
func TestAForeignChangeIsPassedOver(t *testing.T) {
	t.Parallel()
	client := awstest.DynamoDB(t).Clients(nil).DynamoDB
	store := awstables.NewStore(t, client, awstest.Stack())
	spec := driver.TableSpec{Name: "Test.Plain"}
	db, err := store.OpenQueryDb(t.Context(), client, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign := make(chan error, 10)
	topic := statetopic.Open(awstest.DynamoDB(t).Clients(nil).Streams, store.Table("rows", spec.Name), spec, &statetopic.Options{
		Interval: 5 * time.Millisecond, Foreign: func(err error) { foreign <- err },
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seq, err := topic.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	save := func(id string) error {
		return db.Save(t.Context(), driver.Row{Key: driver.Key{ID: id}, Data: json.RawMessage(`{}`)}, driver.Any)
	}
	if err := errors.Join(save("a"), store.PutItem(t.Context(), spec, "foreign", map[string]types.AttributeValue{"data": &types.AttributeValueMemberS{Value: `{}`}}), save("b")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for c, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, c.ID); len(got) < 2 {
			continue
		}
		select { // while somebody listens
		case err := <-foreign:
			if !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("the foreign one is told as %v", err)
			}
		case <-ctx.Done():
			t.Error("nobody is told of the foreign one")
		}
		break
	}
	if !slices.Contains(got, "a") || !slices.Contains(got, "b") {
		t.Errorf("the rows %v came, want a and b", got)
	}
}
