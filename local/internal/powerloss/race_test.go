//go:build race

package powerloss

// raceEnabled reports whether the race detector is on, which makes tests slower.
const raceEnabled = true
