package memory

import "time"

// window remembers keys for a fixed time.
type window struct {
	length time.Duration
	// renew restarts the time of a key with every use; otherwise it starts with
	// the first use.
	renew bool
	last  map[string]time.Time // the use from which the time of a key counts
	uses  []use                // uses in last and older ones that were renewed, oldest first
}

type use struct {
	key string
	at  time.Time
}

func newWindow(length time.Duration, renew bool) window {
	return window{length: length, renew: renew, last: make(map[string]time.Time)}
}

// first records a use of key and reports whether it is the first within the window.
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
