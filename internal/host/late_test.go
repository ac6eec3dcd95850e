package host_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// hangingLog is a log whose appends do not end before their context does.
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

// When the time of a batch is over, the commands that are decided are settled: only
// those that wait for the store are retried.
func TestDecidedCommandsAreSettledWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	for range 20 { // of two that are ready, select takes any
		synctest.Test(t, func(t *testing.T) {
			jar := newJar()
			h := open(t, app(jar, sums(jar)), hangingProvider{memory.New(nil)}, nil)
			ctx, cancel := context.WithCancel(t.Context())
			again := map[string]bool{}
			go func() {
				settlements, _ := h.HandleCommands(ctx, "Shop.Jar", []driver.Delivery[driver.Command]{
					{ID: "hangs", Attempt: 1, Message: command("1", "a", Put{N: 1})},
					{ID: "refused", Attempt: 1, Message: command("2", "b", Refuse{Code: "No"})},
				})
				for _, s := range settlements {
					again[s.ID] = s.Retry
				}
			}()
			synctest.Wait()
			cancel()
			synctest.Wait()
			wantEqual(t, "retried", again, map[string]bool{"hangs": true, "refused": false})
		})
	}
}
