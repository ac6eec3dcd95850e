package sqlite_test

import (
	"testing"

	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

// Both providers return the same results for the same program.
func TestMemoryAndSQLiteShowTheSameResults(t *testing.T) {
	t.Parallel()
	drivertest.TestSameResults(t, func(t *testing.T) *drivertest.Fixture {
		clock := drivertest.NewClock()
		p := memory.New(&memory.Options{Now: clock.Now})
		t.Cleanup(func() { _ = p.Close() })
		return &drivertest.Fixture{Provider: p, Now: clock.Now, Advance: clock.Advance}
	}, fixture)
}
