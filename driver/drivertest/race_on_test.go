//go:build race

package drivertest

// underRace tells that the race detector is on, which makes all this slow.
const underRace = true
