// Package memory is a provider that keeps all data in process memory. It is meant
// for tests and experiments, and is the simplest reference implementation of the
// contracts of package driver.
//
// Nothing is durable: the data is lost with the [Provider]. Opening a name twice
// returns two drivers over the same data. All times come from one clock, which
// tests can set. The provider starts no goroutines.
package memory
