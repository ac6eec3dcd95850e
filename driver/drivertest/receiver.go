package drivertest

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// queue is a receiver together with a way to put messages into it.
type queue[T any] struct {
	driver.Receiver[T]
	// put makes message n of group available; the messages of a group are put
	// in the order 1, 2, 3.
	put func(group string, n int)
	// place is the inverse: which message it is.
	place func(T) place
	// repeats is set where a retry may redeliver settled messages.
	repeats bool
}

// fill puts messages 1 to each of every group, in turns.
func (q queue[T]) fill(each int, groups ...string) {
	for n := 1; n <= each; n++ {
		for _, g := range groups {
			q.put(g, n)
		}
	}
}

// numberedNames are n names that begin with prefix.
func numberedNames(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s%d", prefix, i))
	}
	return all
}

type place struct {
	group string
	n     int
}

// receiverProperties returns the properties of [driver.Receiver], for one kind of
// receiver. opened is called again after a reopening; several
// is true where a group can have several messages at a time.
func receiverProperties[T any](several bool, opened func(e *env) queue[T]) []property {
	with := func(check func(e *env, q queue[T])) func(*env) {
		return func(e *env) { check(e, opened(e)) }
	}
	ps := []property{
		{"AnEmptyReceiverDeliversNothing", with(anEmptyReceiverDeliversNothing)},
		{"SettledMessagesAreNotRedelivered", with(settledMessagesAreNotRedelivered)},
		{"MaxBoundsABatch", with(maxBoundsABatch)},
		{"DeliveryIDsAreUnique", with(deliveryIDsAreUnique)},
		{"LeasedMessagesAreNotDeliveredTwice", with(leasedMessagesAreNotDeliveredTwice)},
		{"RetriedMessagesAreRedelivered", with(retriedMessagesAreRedelivered)},
		{"RetriesWaitForAfter", with(retriesWaitForAfter)},
		{"NextIsWhenARetryIsDue", with(nextIsWhenARetryIsDue)},
		{"UnknownSettlementsAreIgnored", with(unknownSettlementsAreIgnored)},
		{"LeasesExpire", with(leasesExpire)},
		{"NoTwoCallersLeaseOneGroup", with(func(e *env, q queue[T]) { noTwoCallersLeaseOneGroup(e, q, several) })},
		{"UnsettledMessagesSurviveReopening", func(e *env) { unsettledMessagesSurviveReopening(e, opened) }},
	}
	if several {
		ps = append(ps,
			property{"GroupsAreDeliveredInOrder", with(groupsAreDeliveredInOrder)},
			property{"ALeasedMessageBlocksItsGroup", with(aLeasedMessageBlocksItsGroup)},
			property{"RetriesKeepTheOrder", with(retriesKeepTheOrder)},
			property{"OnlyTheFirstRetryOfAGroupIsAnAttempt", with(onlyTheFirstRetryOfAGroupIsAnAttempt)},
			property{"AWaitingRetryBlocksItsGroup", with(aWaitingRetryBlocksItsGroup)})
	}
	return ps
}

// receive calls Receive once and checks what every call promises.
func receive[T any](e *env, r driver.Receiver[T], max int) ([]driver.Delivery[T], time.Time) {
	e.Helper()
	b, err := r.Receive(e.ctx, max)
	if !e.try(err, "Receive(%d)", max) {
		return nil, time.Time{}
	}
	e.errorIf(len(b.Deliveries) > max, "Receive(%d) returned %d deliveries", max, len(b.Deliveries))
	e.errorIf(len(b.Deliveries) > 0 && !b.Next.IsZero(), "Next = %v on a batch that is not empty", b.Next)
	for _, d := range b.Deliveries {
		e.errorIf(d.Attempt < 1, "delivery %q has Attempt %d, want 1 or more", d.ID, d.Attempt)
	}
	return b.Deliveries, b.Next
}

// take receives until it has n deliveries. They must be of different groups, since a
// provider may deliver the messages of a group one at a time.
func take[T any](e *env, r driver.Receiver[T], n int) []driver.Delivery[T] {
	e.Helper()
	var got []driver.Delivery[T]
	if !e.poll(fmt.Sprintf("%d deliveries", n), func() (bool, bool) {
		ds, _ := receive(e, r, n-len(got))
		got = append(got, ds...)
		return len(got) >= n, len(ds) > 0
	}) {
		e.Fatalf("got %d of %d deliveries", len(got), n)
	}
	return got
}

// batch receives until a batch is not empty.
func batch[T any](e *env, r driver.Receiver[T], max int) []driver.Delivery[T] {
	e.Helper()
	var got []driver.Delivery[T]
	if !e.poll("a delivery", func() (bool, bool) {
		got, _ = receive(e, r, max)
		return len(got) > 0, false
	}) {
		e.FailNow()
	}
	return got
}

// settle settles deliveries, all of them with or without a retry.
func settle[T any](e *env, r driver.Receiver[T], retry bool, ds ...driver.Delivery[T]) {
	e.Helper()
	var ss []driver.Settlement
	for _, d := range ds {
		ss = append(ss, driver.Settlement{ID: d.ID, Retry: retry})
	}
	e.try(r.Settle(e.ctx, ss), "Settle")
}

// drain receives and settles until it has n messages, each counted once, and
// returns them in the order of their first deliveries.
func drain[T any](e *env, q queue[T], n int) []place {
	e.Helper()
	var got []place
	seen := map[place]bool{}
	if n == 0 {
		return nil
	}
	e.poll(fmt.Sprintf("%d messages", n), func() (bool, bool) {
		ds, _ := receive(e, q.Receiver, 10)
		for _, d := range ds {
			p := q.place(d.Message)
			if seen[p] {
				e.errorIf(!q.repeats, "message %d of %s was redelivered after it was settled", p.n, short(p.group))
				continue
			}
			seen[p] = true
			got = append(got, p)
		}
		if len(ds) > 0 {
			settle(e, q.Receiver, false, ds...)
		}
		return len(got) >= n, len(ds) > 0
	})
	return got
}

// drained receives and settles until it has n messages.
func drained[T any](e *env, r driver.Receiver[T], n int) []T {
	e.Helper()
	var got []T
	e.poll(fmt.Sprintf("%d messages", n), func() (bool, bool) {
		ds, _ := receive(e, r, 10)
		for _, d := range ds {
			got = append(got, d.Message)
		}
		settle(e, r, false, ds...)
		return len(got) >= n, len(ds) > 0
	})
	return got
}

// none checks that no message is available; name names one that is.
func none[T any](e *env, r driver.Receiver[T], name func(T) string, why string) {
	e.Helper()
	e.quiet(func() {
		ds, _ := receive(e, r, 10)
		for _, d := range ds {
			e.Errorf("%s is delivered at %v, %s", name(d.Message), e.Now(), why)
		}
	})
}

// nothing checks that no message of a queue is available.
func nothing[T any](e *env, q queue[T], why string) {
	e.Helper()
	none(e, q.Receiver, func(m T) string {
		p := q.place(m)
		return fmt.Sprintf("message %d of %s", p.n, short(p.group))
	}, why)
}

// nothingNew is nothing for the time after a retry, when a receiver may redeliver
// settled messages; it settles those again.
func nothingNew[T any](e *env, q queue[T], while string) {
	e.Helper()
	if !q.repeats {
		nothing(e, q, while)
		return
	}
	e.poll("the repeats to end", func() (bool, bool) {
		ds, _ := receive(e, q.Receiver, 10)
		settle(e, q.Receiver, false, ds...)
		return len(ds) == 0, false
	})
}

func inOrder(e *env, got []place, groups, each int) {
	e.Helper()
	last := map[string]int{}
	for _, p := range got {
		e.errorIf(p.n != last[p.group]+1, "of the group %s message %d was delivered, want message %d", short(p.group), p.n, last[p.group]+1)
		last[p.group] = p.n
	}
	e.errorIf(len(last) != groups, "messages of %d groups were delivered, want %d", len(last), groups)
	for g, n := range last {
		e.errorIf(n != each, "of %s the last message was %d, want %d", short(g), n, each)
	}
}

func anEmptyReceiverDeliversNothing[T any](e *env, q queue[T]) {
	ds, next := receive(e, q.Receiver, 10)
	e.errorIf(len(ds) != 0 || !next.IsZero(), "Receive returned %d deliveries and Next %v, want none and zero", len(ds), next)
	e.must(q.Settle(e.ctx, nil), "Settle of nothing")
	q.put("g", 1)
	drain(e, q, 1)
	ds, next = receive(e, q.Receiver, 10)
	e.errorIf(len(ds) != 0 || !next.IsZero(), "after all was settled Receive returned %d deliveries and Next %v, want none and zero", len(ds), next)
}

func settledMessagesAreNotRedelivered[T any](e *env, q queue[T]) {
	q.fill(1, "g1", "g2", "g3")
	drain(e, q, 3)
	nothing(e, q, "though all were settled")
	if e.Advance != nil {
		e.Advance(25 * time.Hour)
		nothing(e, q, "though all were settled, a day later")
	}
}

func maxBoundsABatch[T any](e *env, q queue[T]) {
	q.fill(1, numberedNames("g", 7)...)
	got := 0
	for _, max := range []int{1, 2, 1, 3} { // receive checks the bound
		e.poll("a delivery", func() (bool, bool) {
			ds, _ := receive(e, q.Receiver, max)
			got += len(ds)
			return len(ds) > 0, false
		})
	}
	e.errorIf(got < 4, "got %d deliveries of 7, want 4 at least", got)
}

func deliveryIDsAreUnique[T any](e *env, q queue[T]) {
	const n = 25
	q.fill(1, numberedNames("g", n)...)
	ds := take(e, q.Receiver, n)
	seen := map[string]bool{}
	groups := map[string]bool{}
	for _, d := range ds {
		e.errorIf(d.ID == "" || seen[d.ID], "the delivery id %q is empty or that of another unsettled delivery", d.ID)
		seen[d.ID] = true
		groups[q.place(d.Message).group] = true
	}
	e.errorIf(len(groups) != n, "got messages of %d groups, want %d", len(groups), n)
	// Results are matched by id: settle shuffled, one of them with a retry.
	ss := make([]driver.Settlement, n)
	for i, d := range ds {
		ss[i] = driver.Settlement{ID: d.ID, Retry: i == 11}
	}
	again := q.place(ds[11].Message)
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { ss[i], ss[j] = ss[j], ss[i] })
	e.must(q.Settle(e.ctx, ss[:10]), "Settle of the first part")
	e.must(q.Settle(e.ctx, ss[10:]), "Settle of the second part")
	e.poll("the retried message", func() (bool, bool) {
		found := false
		ds, _ := receive(e, q.Receiver, 10)
		for _, d := range ds {
			p := q.place(d.Message)
			found = found || p == again
			e.errorIf(p != again && !q.repeats, "after shuffled settlements %v was redelivered, want %v", p, again)
			settle(e, q.Receiver, false, d)
		}
		return found, false
	})
	nothingNew(e, q, "though all were settled")
}

func leasedMessagesAreNotDeliveredTwice[T any](e *env, q queue[T]) {
	q.fill(1, "g1", "g2")
	first := take(e, q.Receiver, 2)
	nothing(e, q, "while it is leased")
	settle(e, q.Receiver, false, first[1])
	nothing(e, q, "while it is leased, after another message was settled")
	settle(e, q.Receiver, false, first[0])
	nothing(e, q, "though it was settled")
}

func retriedMessagesAreRedelivered[T any](e *env, q queue[T]) {
	q.fill(1, "g1", "g2")
	first := take(e, q.Receiver, 2)
	for _, d := range first {
		e.errorIf(d.Attempt != 1, "the first delivery has Attempt %d, want 1", d.Attempt)
	}
	settle(e, q.Receiver, true, first[0])
	settle(e, q.Receiver, false, first[1])
	want := q.place(first[0].Message)
	for attempt := 2; attempt <= 6; attempt++ {
		found := false
		e.poll("the retried message", func() (bool, bool) {
			ds, _ := receive(e, q.Receiver, 10)
			for _, d := range ds {
				p := q.place(d.Message)
				if p != want {
					e.errorIf(!q.repeats, "message %v was delivered, only %v was retried", p, want)
					settle(e, q.Receiver, false, d)
					continue
				}
				found = true
				e.errorIf(d.Attempt < 2, "delivery %d has Attempt %d, want 2 or more", attempt, d.Attempt)
				settle(e, q.Receiver, attempt < 6, d)
			}
			return found, false
		})
		if e.Failed() {
			return
		}
	}
	nothingNew(e, q, "though it was settled at last")
}

func retriesWaitForAfter[T any](e *env, q queue[T]) {
	q.fill(1, "g1", "g2")
	ds := take(e, q.Receiver, 2)
	e.must(q.Settle(e.ctx, []driver.Settlement{
		{ID: ds[0].ID, Retry: true, After: 7 * time.Minute},
		{ID: ds[1].ID, Retry: true, After: 14 * time.Minute},
	}), "Settle")
	nothing(e, q, "while it waits for its retry")
	q.put("g3", 1) // other groups continue
	other := take(e, q.Receiver, 1)
	if got := q.place(other[0].Message); got.group != "g3" {
		e.Errorf("message %v was delivered while it waits for its retry", got)
	}
	settle(e, q.Receiver, false, other...)
	e.advance(7*time.Minute - time.Second)
	nothing(e, q, "a second before its retry is due")
	e.advance(time.Second)
	for i, d := range ds {
		again := take(e, q.Receiver, 1)
		if got, want := q.place(again[0].Message), q.place(d.Message); got != want {
			e.Errorf("retry %d is %v, want %v", i, got, want)
		}
		settle(e, q.Receiver, false, again...)
		nothing(e, q, "though the other one still waits, or all were settled")
		e.advance(7 * time.Minute)
	}
}

func nextIsWhenARetryIsDue[T any](e *env, q queue[T]) {
	e.needClock()
	q.fill(1, "g1", "g2")
	ds := take(e, q.Receiver, 2)
	start := e.Now()
	e.must(q.Settle(e.ctx, []driver.Settlement{
		{ID: ds[0].ID, Retry: true, After: 2 * time.Hour},
		{ID: ds[1].ID, Retry: true, After: time.Hour},
	}), "Settle")
	e.poll("an empty batch with Next", func() (bool, bool) {
		got, next := receive(e, q.Receiver, 10)
		if len(got) > 0 {
			e.Errorf("%d messages were delivered while they wait for their retries", len(got))
			return true, false
		}
		if next.IsZero() {
			return e.Lag == 0, false
		}
		if d := next.Sub(start.Add(time.Hour)).Abs(); d > time.Second {
			e.Errorf("Next = %v, want the earlier retry's time %v", next, start.Add(time.Hour))
		}
		return true, false
	})
	if _, next := receive(e, q.Receiver, 10); next.IsZero() && e.Lag == 0 {
		e.Errorf("Next is zero while a retry waits")
	}
}

func unknownSettlementsAreIgnored[T any](e *env, q queue[T]) {
	e.must(q.Settle(e.ctx, []driver.Settlement{{ID: "nobody"}, {ID: "", Retry: true}}), "Settle of unknown ids")
	q.fill(1, "g1", "g2")
	ds := take(e, q.Receiver, 2)
	e.must(q.Settle(e.ctx, []driver.Settlement{
		{ID: "nobody"},
		{ID: ds[0].ID},
		{ID: "", Retry: true},
		{ID: ds[1].ID + "x", Retry: true},
		{ID: ds[1].ID},
	}), "Settle of known and unknown ids")
	for i, d := range ds { // both were settled, so the next messages of their groups are available
		group := q.place(d.Message).group
		q.put(group, 2)
		next := take(e, q.Receiver, 1)
		got := q.place(next[0].Message).group
		e.errorIf(got != group, "a message of the group %s was delivered, want %s", got, group)
		ds[i] = next[0]
	}
	settle(e, q.Receiver, false, ds...)
	e.must(q.Settle(e.ctx, []driver.Settlement{{ID: ds[0].ID, Retry: true}, {ID: ds[1].ID}}), "Settle of settled ids")
	nothing(e, q, "though it was settled")
}

func leasesExpire[T any](e *env, q queue[T]) {
	e.needClock()
	q.put("g", 1)
	first := take(e, q.Receiver, 1)[0]
	e.advance(25 * time.Hour) // longer than any lease
	settle(e, q.Receiver, false, first)
	second := take(e, q.Receiver, 1)[0]
	e.errorIf(q.place(second.Message) != q.place(first.Message), "%v was delivered, want %v", q.place(second.Message), q.place(first.Message))
	settle(e, q.Receiver, false, first) // the expired lease, while there is a new one
	nothing(e, q, "while it is leased again")
	settle(e, q.Receiver, true, second)
	third := take(e, q.Receiver, 1)[0]
	settle(e, q.Receiver, false, third)
	nothing(e, q, "though it was settled")
}

func noTwoCallersLeaseOneGroup[T any](e *env, q queue[T], several bool) {
	groups, each := 40, 1
	if several {
		groups, each = 4, 10
	}
	var mu sync.Mutex
	holder := map[string]int{}
	last := map[string]int{}
	var left atomic.Int64
	left.Store(int64(groups * each))
	var wg sync.WaitGroup
	wg.Go(func() { q.fill(each, numberedNames("g", groups)...) })
	took := func(me int, ds []driver.Delivery[T]) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range ds {
			p := q.place(d.Message)
			h, ok := holder[p.group]
			e.errorIf(ok && h != me, "message %d of %s is delivered while another caller leases its group", p.n, p.group)
			holder[p.group] = me
		}
	}
	// gives returns settlements; from a random delivery of each group on it retries.
	gives := func(ds []driver.Delivery[T], r *rand.Rand) []driver.Settlement {
		mu.Lock()
		defer mu.Unlock()
		var ss []driver.Settlement
		retried := map[string]bool{}
		for _, d := range ds {
			p := q.place(d.Message)
			if r.IntN(8) == 0 {
				retried[p.group] = true
			}
			ss = append(ss, driver.Settlement{ID: d.ID, Retry: retried[p.group]})
			if retried[p.group] {
				continue
			}
			switch {
			case p.n == last[p.group]+1:
				last[p.group] = p.n
				left.Add(-1)
			case p.n > last[p.group] || !q.repeats:
				e.Errorf("of the group %s message %d was delivered, want message %d", p.group, p.n, last[p.group]+1)
			}
		}
		for _, d := range ds {
			delete(holder, q.place(d.Message).group)
		}
		return ss
	}
	for me := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(me), 1))
			seen := int64(-1)
			e.poll("all messages to be settled", func() (bool, bool) {
				ds, _ := receive(e, q.Receiver, 1+r.IntN(4))
				if len(ds) > 0 {
					took(me, ds)
					if r.IntN(3) == 0 { // sometimes it is slow
						pause(20 * time.Microsecond)
					} else {
						runtime.Gosched()
					}
					e.try(q.Settle(e.ctx, gives(ds, r)), "Settle")
				}
				now := left.Load()
				progress := now != seen
				seen = now
				return now <= 0, progress
			})
		})
	}
	wg.Wait()
}

func unsettledMessagesSurviveReopening[T any](e *env, opened func(*env) queue[T]) {
	e.needReopen()
	q := opened(e)
	q.fill(1, "settled", "held", "retried", "waiting")
	for _, d := range take(e, q.Receiver, 4) {
		s := driver.Settlement{ID: d.ID}
		switch q.place(d.Message).group {
		case "held":
			continue
		case "retried":
			s.Retry = true
		case "waiting":
			s.Retry, s.After = true, time.Hour
		}
		e.must(q.Settle(e.ctx, []driver.Settlement{s}), "Settle")
	}
	q.put("untouched", 1)
	e.reopen()
	q = opened(e)
	got := map[string]bool{} // a retry may be available immediately after reopening
	e.poll("the unsettled messages", func() (bool, bool) {
		ds, _ := receive(e, q.Receiver, 10)
		for _, d := range ds {
			got[q.place(d.Message).group] = true
		}
		settle(e, q.Receiver, false, ds...)
		n := 0
		for _, g := range []string{"held", "retried", "untouched"} {
			if got[g] {
				n++
			}
		}
		return n == 3, len(ds) > 0
	})
	e.errorIf(got["settled"] && !q.repeats, "a settled message was redelivered after reopening")
	if e.Advance != nil {
		e.Advance(time.Hour)
		e.poll("the message that waited", func() (bool, bool) {
			ds, _ := receive(e, q.Receiver, 10)
			for _, d := range ds {
				got[q.place(d.Message).group] = true
			}
			settle(e, q.Receiver, false, ds...)
			return got["waiting"], false
		})
	}
	nothingNew(e, q, "though all were settled")
	e.reopen()
	nothing(e, opened(e), "though all were settled before reopening")
}

func groupsAreDeliveredInOrder[T any](e *env, q queue[T]) {
	const groups, each = 5, 12
	race(groups, func(g int) { // each group has its own writer
		for n := 1; n <= each; n++ {
			q.put(fmt.Sprintf("g%d", g), n)
		}
	})
	inOrder(e, drain(e, q, groups*each), groups, each)
	nothing(e, q, "though all were settled")
}

func aLeasedMessageBlocksItsGroup[T any](e *env, q queue[T]) {
	q.fill(3, "g")
	first := batch(e, q.Receiver, 1)
	if got := q.place(first[0].Message); got != (place{"g", 1}) {
		e.Errorf("%v was delivered first, want message 1", got)
	}
	nothing(e, q, "while an earlier message of its group is leased")
	q.put("h", 1)
	other := take(e, q.Receiver, 1)
	if got := q.place(other[0].Message); got.group != "h" {
		e.Errorf("%v was delivered while an earlier message of its group is leased", got)
	}
	settle(e, q.Receiver, false, other...)
	q.put("g", 4)
	nothing(e, q, "while an earlier message of its group is leased")
	settle(e, q.Receiver, false, first...)

	// Settling a part of a batch does not free the group.
	next := 2
	for next <= 4 && !e.Failed() {
		ds := batch(e, q.Receiver, 10)
		for i, d := range ds {
			if got := q.place(d.Message); got != (place{"g", next}) {
				e.Errorf("%v was delivered, want message %d", got, next)
			}
			next++
			settle(e, q.Receiver, false, d)
			if i < len(ds)-1 {
				nothing(e, q, "while another message of its group is leased")
			}
		}
	}
	nothing(e, q, "though all were settled")
}

func retriesKeepTheOrder[T any](e *env, q queue[T]) {
	const groups, each = 3, 6
	q.fill(each, numberedNames("g", groups)...)
	r := rand.New(rand.NewPCG(7, 7))
	due := map[string]int{}
	done := 0
	for round := 0; done < groups*each && !e.Failed(); round++ {
		ds := batch(e, q.Receiver, 10)
		next := map[string]int{}
		retried := map[string]bool{}
		var ss []driver.Settlement
		for _, d := range ds {
			p := q.place(d.Message)
			if next[p.group] == 0 {
				next[p.group] = due[p.group] + 1
			}
			switch {
			case p.n == next[p.group]:
				next[p.group]++
			case q.repeats && p.n < next[p.group]:
				ss = append(ss, driver.Settlement{ID: d.ID, Retry: retried[p.group]})
				continue
			default:
				e.Errorf("of the group %s message %d was delivered, want message %d", p.group, p.n, next[p.group])
			}
			// All messages of a group are retried from a random one on.
			if round%3 == 0 || r.IntN(2) == 0 {
				retried[p.group] = true
			}
			if !retried[p.group] {
				due[p.group]++
				done++
			}
			ss = append(ss, driver.Settlement{ID: d.ID, Retry: retried[p.group]})
		}
		r.Shuffle(len(ss), func(i, j int) { ss[i], ss[j] = ss[j], ss[i] })
		e.must(q.Settle(e.ctx, ss), "Settle")
	}
	nothingNew(e, q, "though all were settled")
}

func onlyTheFirstRetryOfAGroupIsAnAttempt[T any](e *env, q queue[T]) {
	q.fill(3, "g")
	for round := 1; round <= 4; round++ {
		ds := batch(e, q.Receiver, 10)
		first := ds[0].Attempt
		e.errorIf(e.Lag == 0 && first != round, "delivery %d of the first message has Attempt %d, want %d", round, first, round)
		for _, d := range ds[1:] {
			most := first // of a queue that counts deliveries
			if e.Lag == 0 {
				most = 1
			}
			e.errorIf(d.Attempt > most, "%v, retried %d times behind the first message of its group, has Attempt %d, want %d at most", q.place(d.Message), round-1, d.Attempt, most)
		}
		settle(e, q.Receiver, true, ds...)
	}
	inOrder(e, drain(e, q, 3), 1, 3)
	nothingNew(e, q, "though all were settled")
}

func aWaitingRetryBlocksItsGroup[T any](e *env, q queue[T]) {
	e.needClock()
	q.fill(3, "g")
	ds := batch(e, q.Receiver, 1)
	e.must(q.Settle(e.ctx, []driver.Settlement{{ID: ds[0].ID, Retry: true, After: time.Hour}}), "Settle")
	nothing(e, q, "while an earlier message of its group waits for its retry")
	q.put("h", 1)
	other := take(e, q.Receiver, 1)
	got := q.place(other[0].Message)
	e.errorIf(got.group != "h", "%v was delivered while an earlier message of its group waits for its retry", got)
	settle(e, q.Receiver, false, other...)
	q.put("g", 4)
	e.advance(time.Hour - time.Second)
	nothing(e, q, "a second before the retry of its group is due")
	e.advance(time.Second)
	inOrder(e, drain(e, q, 4), 1, 4)
	nothingNew(e, q, "though all were settled")
}
