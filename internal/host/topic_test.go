package host_test

import (
	"fmt"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

// behindTopic limits the direct readers of a log, so that consumers read the topic.
func behindTopic(s *setup) { s.limits.MaxFeedReaders = 2 }

// An envelope that the topic refuses is parked, and published when it is redriven.
// Other streams are published.
func TestRefusedEnvelopeIsParkedAndOthersArePublished(t *testing.T) {
	t.Parallel()
	s := newShelf()
	r := start(t, s.app(), behindTopic, asleep)
	fault := r.faults.Inject(faults.Rule{Op: "EventTopic.Publish", Name: "Shop.Jar", Key: "bad", Member: true, Times: -1, Err: driver.ErrInvalid})
	for i := range 3 {
		for _, id := range []string{"a", "bad", "b"} {
			r.accept(fmt.Sprint(id, i), s.jar.To(id, Put{N: i}))
		}
	}
	r.work()
	got := rows(r, s.sums)
	wantEqual(t, "others", []SumRow{got["a"], got["b"], got["bad"]}, []SumRow{{3, 3}, {3, 3}, {}})
	letters := r.deadLetters()
	wantEqual(t, "dead letters", len(letters), 3)
	for _, l := range letters {
		if l.Component != "Shop.Jar" || l.Stream != "bad" || l.Attempts < 5 || l.Attempts > 7 {
			t.Errorf("got dead letter %+v", l)
		}
	}
	if err := r.Redrive(t.Context(), letters[0].ID); err == nil {
		t.Error("redrive of what is still refused: no error")
	}
	fault.Stop()
	r.redrive(letters[0].ID)
	r.discard(letters[1].ID)
	r.redrive(letters[2].ID)
	r.finish()
	s.check(r) // the discarded record contained no commit, so none is missing
}
