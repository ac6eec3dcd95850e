//go:build race

package drivertest

// underRace is true when the race detector is on, which makes these tests slow.
const underRace = true
