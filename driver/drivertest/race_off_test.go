//go:build !race

package drivertest

const underRace = false
