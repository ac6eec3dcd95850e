//go:build !race

package server_test

// raceEnabled reports whether the race detector is on, which makes tests slower.
const raceEnabled = false
