package statetopic_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstables"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/statetopic"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// topics adds the topics to a provider of read models.
type topics struct {
	driver.Provider
	store *awstables.Store
	e     *awstest.Emulator
	now   func() time.Time

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
		p.topics[spec.Name] = statetopic.Open(p.e.Clients(awstest.Transport()).Streams, p.store.Table("rows", spec.Name), spec,
			&statetopic.Options{Interval: 5 * time.Millisecond, Now: p.now})
	}
	return p.topics[spec.Name], nil
}

func fixture(emulator func(testing.TB) *awstest.Emulator) drivertest.Open {
	return func(t *testing.T) *drivertest.Fixture {
		e := emulator(t)
		client := e.Clients(awstest.Transport()).DynamoDB
		store := awstables.NewStore(t, client, awstest.Stack())
		f := store.Fixture(client)
		f.Provider = &topics{Provider: f.Provider, store: store, e: e, now: f.Now, topics: map[string]*statetopic.Topic{}}
		f.Reopen, f.Lag = nil, 200*time.Millisecond
		return f
	}
}

func TestStateTopic(t *testing.T) {
	t.Parallel()
	drivertest.TestStateTopic(t, fixture(awstest.DynamoDB))
}

// MiniStack has streams of its own making.
func TestStateTopicOnMiniStack(t *testing.T) {
	t.Parallel()
	drivertest.TestStateTopic(t, fixture(awstest.MiniStack))
}
