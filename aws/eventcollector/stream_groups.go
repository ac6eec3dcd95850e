package eventcollector

import (
	"container/heap"
	"strconv"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// groups are the records that are not settled, by their group. What is held, waits
// or was tried is known in memory only.
type groups struct {
	hold   time.Duration
	prefix string // of delivery ids: those of another process are unknown here

	byName     map[string]*group
	line       line // all of byName, the one that can be taken from first in front
	held       map[string]*record
	deliveries uint64
	turns      uint64
}

// group is the records of one group in order, the first of which is not settled.
// Those that were ever delivered are in front of those that were not.
type group struct {
	name    string
	records []*record
	at      time.Time // nothing can be taken before
	turn    uint64    // of groups with the same time the lowest comes first
	slot    int       // in the line
}

// record is a record of a stream that is not settled, or is behind one that is not.
type record struct {
	shard, sequence string
	message         driver.Record
	size            int // of the commit

	group    *group
	attempt  int
	delivery string    // the delivery that holds it
	until    time.Time // the end of the hold, or of the wait for the retry
	settled  bool
}

func newGroups(hold time.Duration, prefix string) groups {
	return groups{hold: hold, prefix: prefix, byName: map[string]*group{}, held: map[string]*record{}}
}

// push adds a record behind all others of its group.
func (gs *groups) push(name string, r *record) {
	g := gs.byName[name]
	if g == nil {
		g = &group{name: name}
		gs.byName[name] = g
		gs.turns++
		g.turn = gs.turns
		heap.Push(&gs.line, g)
	}
	r.group = g
	g.records = append(g.records, r)
}

// take delivers up to max records.
func (gs *groups) take(now time.Time, max int) []*record {
	var taken []*record
	for len(taken) < max && len(gs.line) > 0 && !gs.line[0].at.After(now) {
		g := gs.line[0]
		for _, r := range g.records {
			if r.attempt == 0 {
				break
			}
			if r.delivery != "" { // the hold has ended
				delete(gs.held, r.delivery)
				r.delivery, r.until = "", time.Time{}
			}
		}
		for _, r := range g.records {
			if len(taken) == max || r.until.After(now) {
				break
			}
			if r.settled {
				continue
			}
			gs.deliveries++
			r.delivery = gs.prefix + strconv.FormatUint(gs.deliveries, 10)
			r.until = now.Add(gs.hold)
			r.attempt++
			gs.held[r.delivery] = r
			taken = append(taken, r)
		}
		gs.queueUp(g)
	}
	return taken
}

// next returns when something can be taken after a take that found nothing.
func (gs *groups) next() time.Time {
	if len(gs.line) == 0 {
		return time.Time{}
	}
	return gs.line[0].at
}

// settle ends deliveries and returns the records that are settled by it.
func (gs *groups) settle(now time.Time, settlements []driver.Settlement) []*record {
	var settled []*record
	touched := map[*group]bool{}
	for _, s := range settlements {
		r := gs.held[s.ID]
		if r == nil || !r.until.After(now) { // unknown, or the hold has ended
			continue
		}
		delete(gs.held, s.ID)
		r.delivery, r.until = "", time.Time{}
		touched[r.group] = true
		switch {
		case !s.Retry:
			r.settled = true
			r.message.Commit, r.message.Raw = nil, nil // it may have to stay in its shard
			settled = append(settled, r)
		case s.After > 0:
			r.until = now.Add(s.After)
		}
	}
	for g := range touched {
		for len(g.records) > 0 && g.records[0].settled {
			g.records[0] = nil
			g.records = g.records[1:]
		}
		if len(g.records) > 0 {
			gs.queueUp(g)
			continue
		}
		heap.Remove(&gs.line, g.slot)
		delete(gs.byName, g.name)
	}
	return settled
}

// queueUp puts g at its place in the line: behind its holds, for the order would
// break if another call took from it, and behind the wait of its first record.
func (gs *groups) queueUp(g *group) {
	g.at = time.Time{}
	first := true
	for _, r := range g.records {
		if r.attempt == 0 {
			break
		}
		if !r.settled && (first || r.delivery != "") && r.until.After(g.at) {
			g.at = r.until
		}
		first = first && r.settled
	}
	gs.turns++
	g.turn = gs.turns
	heap.Fix(&gs.line, g.slot)
}

// line is a heap of groups.
type line []*group

func (l line) Len() int { return len(l) }

func (l line) Less(i, j int) bool {
	if !l[i].at.Equal(l[j].at) {
		return l[i].at.Before(l[j].at)
	}
	return l[i].turn < l[j].turn
}

func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].slot, l[j].slot = i, j
}

// Push implements [heap.Interface].
func (l *line) Push(x any) {
	g := x.(*group)
	g.slot = len(*l)
	*l = append(*l, g)
}

// Pop implements [heap.Interface].
func (l *line) Pop() any {
	last := len(*l) - 1
	g := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return g
}
