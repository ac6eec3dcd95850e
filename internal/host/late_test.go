package host_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// hangingLog is a log whose appends end only with their context.
type hangingLog struct{ driver.EventLog }

func (hangingLog) Append(ctx context.Context, _ driver.Commit) error {
	<-ctx.Done()
	return ctx.Err()
}

type hangingProvider struct{ driver.Provider }

func (p hangingProvider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	l, err := p.Provider.OpenEventLog(ctx, name)
	return hangingLog{l}, err
}

// When the context of a batch ends, decided commands are settled. Only those that wait for
// the store are retried.
func TestDecidedCommandsAreSettledWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	for range 20 { // select chooses at random when both are ready
		synctest.Test(t, func(t *testing.T) {
			jar := newJar()
			h := open(t, app(jar, sums(jar)), hangingProvider{memory.New(nil)}, nil)
			ctx, cancel := context.WithCancel(t.Context())
			var got map[string]bool
			go func() {
				got = retried(h.HandleCommands(ctx, "Shop.Jar", []driver.Delivery[driver.Command]{
					{ID: "hangs", Attempt: 1, Message: command("1", "a", Put{N: 1})},
					{ID: "rejected", Attempt: 1, Message: command("2", "b", Refuse{Code: "No"})},
				}))
			}()
			synctest.Wait()
			cancel()
			synctest.Wait()
			wantEqual(t, "retried", got, map[string]bool{"hangs": true, "rejected": false})
		})
	}
}
