// Package memory is the provider that keeps everything in the memory of the
// process: for tests, for trying things out, and as the reference that says in
// the plainest code what the contracts of package driver mean.
//
// Nothing is durable: the data ends with the [Provider]. Opening a name twice
// gives two drivers over the same data. All times come from one clock, which
// tests can set; nothing runs in the background.
package memory
