package memory_test

import (
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

func TestProvider(t *testing.T) {
	drivertest.TestProvider(t, func(t *testing.T) *drivertest.Fixture { return open(t, driver.Limits{}) })
}

// TestProviderWithSmallLimits reaches the limits that are too large by default.
func TestProviderWithSmallLimits(t *testing.T) {
	small := driver.Limits{MaxCommitBytes: 16 << 10, MaxCommandBytes: 16 << 10, MaxRowBytes: 16 << 10, MaxStep: 100}
	drivertest.TestProvider(t, func(t *testing.T) *drivertest.Fixture { return open(t, small) })
}

func open(t *testing.T, limits driver.Limits) *drivertest.Fixture {
	clock := drivertest.NewClock()
	p := memory.New(&memory.Options{Now: clock.Now, Limits: limits})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &drivertest.Fixture{Provider: p, Now: clock.Now, Advance: clock.Advance}
}
