package memory

import "time"

// window remembers keys for a while.
type window struct {
	length time.Duration
	// renew makes every use of a key start its time anew; without it only the
	// use that was the first counts.
	renew bool
	last  map[string]time.Time
	uses  []use // those of last, oldest first, and some that were renewed since
}

type use struct {
	key string
	at  time.Time
}

func newWindow(length time.Duration, renew bool) window {
	return window{length: length, renew: renew, last: make(map[string]time.Time)}
}

// first reports whether key was not used within the window, and uses it.
func (w *window) first(key string, now time.Time) bool {
	for len(w.uses) > 0 && now.Sub(w.uses[0].at) > w.length {
		if u := w.uses[0]; w.last[u.key].Equal(u.at) {
			delete(w.last, u.key)
		}
		w.uses = w.uses[1:]
	}
	at, seen := w.last[key]
	if !seen || w.renew && now.After(at) {
		w.last[key] = now
		w.uses = append(w.uses, use{key, now})
	}
	return !seen
}
