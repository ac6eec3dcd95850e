package rows

import (
	"container/heap"
	"slices"
)

// Top selects the rows of one page of an ordered scan from rows in any order. It
// keeps one row more than the page limit, to find out whether another page follows.
type Top[E any] struct{ kept placedHeap[E] }

// Placed is a row with its position.
type Placed[E any] struct {
	At  Position
	Row E
}

// NewTop returns a Top for a scan.
func NewTop[E any](plan Plan) *Top[E] { return &Top[E]{placedHeap[E]{plan: plan}} }

// Wants reports whether a row at this position belongs to the page, given the rows
// added so far. Add must only get such rows.
func (t *Top[E]) Wants(at Position) bool {
	if !t.kept.plan.Follows(at) {
		return false
	}
	return len(t.kept.rows) <= t.kept.plan.Limit || t.kept.plan.Compare(at, t.kept.rows[0].At) < 0
}

// Add adds a row for whose position Wants is true.
func (t *Top[E]) Add(at Position, row E) {
	if len(t.kept.rows) <= t.kept.plan.Limit {
		heap.Push(&t.kept, Placed[E]{at, row})
		return
	}
	t.kept.rows[0] = Placed[E]{at, row}
	heap.Fix(&t.kept, 0)
}

// Page returns the rows of the page in order, and whether there are more.
func (t *Top[E]) Page() (page []Placed[E], more bool) {
	page = t.kept.rows
	slices.SortFunc(page, func(a, b Placed[E]) int { return t.kept.plan.Compare(a.At, b.At) })
	if len(page) > t.kept.plan.Limit {
		return page[:t.kept.plan.Limit], true
	}
	return page, false
}

// placedHeap is a heap with the last row of the order on top.
type placedHeap[E any] struct {
	plan Plan
	rows []Placed[E]
}

func (h *placedHeap[E]) Len() int           { return len(h.rows) }
func (h *placedHeap[E]) Less(i, j int) bool { return h.plan.Compare(h.rows[i].At, h.rows[j].At) > 0 }
func (h *placedHeap[E]) Swap(i, j int)      { h.rows[i], h.rows[j] = h.rows[j], h.rows[i] }
func (h *placedHeap[E]) Push(x any)         { h.rows = append(h.rows, x.(Placed[E])) }

func (h *placedHeap[E]) Pop() any {
	last := h.rows[len(h.rows)-1]
	h.rows = h.rows[:len(h.rows)-1]
	return last
}
