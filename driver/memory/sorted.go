package memory

import (
	"iter"
	"slices"
	"sort"
)

// chunkLength bounds the elements that an insertion moves.
const chunkLength = 256

// sorted is an ordered set. It is a list of sorted chunks, none of them empty, so
// that no operation moves or compares all elements.
type sorted[E any] struct {
	compare func(a, b E) int
	chunks  [][]E
}

// insert adds e and replaces an equal element.
func (s *sorted[E]) insert(e E) {
	i, j := s.search(func(x E) bool { return s.compare(x, e) >= 0 })
	if i < len(s.chunks) && s.compare(s.chunks[i][j], e) == 0 {
		s.chunks[i][j] = e
		return
	}
	if i == len(s.chunks) { // e is the greatest: it belongs at the end of the last chunk
		if i == 0 {
			s.chunks = [][]E{{e}}
			return
		}
		i--
		j = len(s.chunks[i])
	}
	chunk := slices.Insert(s.chunks[i], j, e)
	s.chunks[i] = chunk
	if len(chunk) > chunkLength {
		half := len(chunk) / 2
		s.chunks = slices.Insert(s.chunks, i+1, slices.Clone(chunk[half:]))
		clear(chunk[half:])
		s.chunks[i] = chunk[:half]
	}
}

// remove removes the element that is equal to e, if any.
func (s *sorted[E]) remove(e E) {
	i, j := s.search(func(x E) bool { return s.compare(x, e) >= 0 })
	if i == len(s.chunks) || s.compare(s.chunks[i][j], e) != 0 {
		return
	}
	s.chunks[i] = slices.Delete(s.chunks[i], j, j+1)
	if len(s.chunks[i]) == 0 {
		s.chunks = slices.Delete(s.chunks, i, i+1)
	}
}

// ascend yields the first element for which from is true and all elements after
// it, for which from must be true as well. The set must not change meanwhile.
func (s *sorted[E]) ascend(from func(E) bool) iter.Seq[E] {
	return func(yield func(E) bool) {
		i, j := s.search(from)
		for ; i < len(s.chunks); i++ {
			for _, e := range s.chunks[i][j:] {
				if !yield(e) {
					return
				}
			}
			j = 0
		}
	}
}

// descend yields the elements before the first one for which from is true, in
// descending order.
func (s *sorted[E]) descend(from func(E) bool) iter.Seq[E] {
	return func(yield func(E) bool) {
		i, j := s.search(from)
		for {
			for j--; j >= 0; j-- {
				if !yield(s.chunks[i][j]) {
					return
				}
			}
			if i--; i < 0 {
				return
			}
			j = len(s.chunks[i])
		}
	}
}

// search returns the chunk and the index in it of the first element for which from
// is true, or the number of chunks and 0 if no element matches.
func (s *sorted[E]) search(from func(E) bool) (i, j int) {
	i = sort.Search(len(s.chunks), func(i int) bool {
		chunk := s.chunks[i]
		return from(chunk[len(chunk)-1])
	})
	if i < len(s.chunks) {
		j = sort.Search(len(s.chunks[i]), func(j int) bool { return from(s.chunks[i][j]) })
	}
	return i, j
}
