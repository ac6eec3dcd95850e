package host_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/schedule"
)

// A suspended machine loses hours of wall time, which its timers do not count.
func TestScheduleFiresSoonAfterTheClockHasJumped(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{3 * time.Hour, 61 * time.Minute, -3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var offset atomic.Int64
			now := func() time.Time {
				wall := time.Now().Add(time.Duration(offset.Load()))
				return wall.Round(0) // without the monotonic clock
			}
			jar := newJar()
			a := app(jar, schedule.New(schedule.Spec{Name: "Tick", Rate: schedule.Every(time.Hour), Send: jar.To("a", Put{N: 1})}))
			h := open(t, a, memory.New(&memory.Options{Now: now}), &host.Options{Now: now})
			if err := h.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			commits := func() (n int) {
				synctest.Wait()
				log, _ := h.EventLog("Shop.Jar")
				for _, err := range log.Read(t.Context(), "a", 0, 0) {
					if err != nil {
						t.Fatal(err)
					}
					n++
				}
				return n
			}
			time.Sleep(59 * time.Minute) //nolint:forbidigo // the clock of the bubble
			wantEqual(t, "commits before the jump", commits(), 0)
			offset.Store(int64(jump))
			time.Sleep(15 * time.Second) //nolint:forbidigo // the clock of the bubble
			if jump > 0 {
				wantEqual(t, "commits 15 seconds after the jump", commits(), 1)
			}
			// A clock that was set back reaches the planned time again.
			time.Sleep(max(0, -jump) + time.Hour) //nolint:forbidigo // the clock of the bubble
			wantEqual(t, "commits an hour later", commits(), map[bool]int{true: 2, false: 1}[jump > 0])
		})
	}
}
