package memory_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// The provider's clock can be a test's: a schedule is due when the test says so.
func Example() {
	ctx, now := context.Background(), time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	p := memory.New(&memory.Options{Now: func() time.Time { return now }})
	s, err := p.OpenScheduler(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Create(ctx, driver.Schedule{Name: "tea", Expression: "at(2026-01-01T16:00:00)", Payload: []byte(`{}`)}); err != nil {
		log.Fatal(err)
	}
	firings, err := p.OpenScheduleReceiver(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		due, err := firings.Receive(ctx, 1)
		fmt.Println(len(due.Deliveries), err)
		now = now.Add(7 * time.Hour)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
}
