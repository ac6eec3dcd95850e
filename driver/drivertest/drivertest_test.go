package drivertest

import (
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

func openMemory(t *testing.T) *Fixture {
	clock := NewClock()
	p := memory.New(&memory.Options{Now: clock.Now})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &Fixture{Provider: p, Now: clock.Now, Advance: clock.Advance}
}

func TestMemory(t *testing.T) { TestProvider(t, openMemory) }

func BenchmarkEventLog(b *testing.B) {
	BenchEventLog(b, func(*testing.B) driver.Provider { return memory.New(nil) })
}

func TestSameResultsOfTwoMemories(t *testing.T) { TestSameResults(t, openMemory, openMemory) }
