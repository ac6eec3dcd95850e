package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/local/sqlite"
)

// fixture opens an empty provider with a clock that can be moved.
func fixture(t *testing.T) *drivertest.Fixture {
	clock := drivertest.NewClock()
	path := filepath.Join(t.TempDir(), "app.db")
	var p *sqlite.Provider
	open := func(t *testing.T) driver.Provider {
		t.Helper()
		if p != nil {
			if err := p.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
		opened, err := sqlite.Open(t.Context(), path, &sqlite.Options{Now: clock.Now})
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		p = opened
		return p
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &drivertest.Fixture{Provider: open(t), Now: clock.Now, Advance: clock.Advance, Reopen: open}
}

func TestProvider(t *testing.T) { drivertest.TestProvider(t, fixture) }
