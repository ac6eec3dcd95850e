// Package sqlite runs a Reventless application on one SQLite file.
//
// [Open] returns a [driver.Provider] whose logs, queues, read models, counters,
// schedules and dead letters all lie in that file; the objects of buckets are
// files in a directory beside it. The file is in WAL mode with
// synchronous=FULL: what was acknowledged survives the loss of power.
//
// # Writing
//
// One goroutine with a connection of its own does all writing. Requests that
// arrive while it commits wait and form the next transaction together, so that
// concurrent writers share the cost of reaching the disk and a single one never
// waits for company. Each request of a group keeps its own checks, a request
// that fails takes nothing of the others with it, and results are given only
// after the commit. Readers use other connections; they never wait for the
// writer and see everything that was acknowledged.
//
// A context that ends while a request waits for the writer withdraws it. One
// that ends later ends the call with the context's error, and the request, as a
// whole, may still take effect.
//
// # One process
//
// A provider locks the file <path>.lock; a second [Open], of this or another
// process, is refused with [driver.ErrUnavailable]. The lock ends with the
// process, however it ends.
//
// # Refused files
//
// Open never touches a file that it refuses, always with [driver.ErrInvalid]
// and the finding: one that is not a SQLite database, that is empty or shorter
// than its header says, that belongs to another application (by SQLite's
// application_id), that was written by a newer schema (user_version), or that
// fails PRAGMA quick_check. That check reads the whole file and is therefore
// made of files up to 64 MiB only; what it would find in a larger one is met by
// the read that comes across it, as an error. Each commit carries a checksum
// besides, which every read verifies.
package sqlite
