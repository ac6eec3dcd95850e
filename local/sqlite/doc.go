// Package sqlite runs a Reventless application on one SQLite file.
//
// [Open] returns a [driver.Provider] that stores logs, queues, read models,
// counters, schedules and dead letters in that file; the objects of buckets are
// files in a directory beside it. The file is in WAL mode with
// synchronous=FULL: acknowledged writes survive a power failure.
//
// # Writing
//
// One goroutine with its own connection does all writing. Requests that arrive
// while it commits form the next transaction together: concurrent writers share
// the cost of a disk flush, and a single writer never waits for others. Each
// request in a group runs its own checks, a request that fails does not affect
// the others, and results are returned only after the commit. Readers use other
// connections; they never wait for the writer and see every acknowledged write.
//
// If a context ends while its request waits for the writer, the request is
// withdrawn. If it ends later, the call returns the context's error, and the
// request may still take effect as a whole.
//
// # Permissions
//
// Files are created with the mode 0600, and directories with 0700. An existing file or
// directory keeps its mode, and SQLite gives the write-ahead log and its index the mode
// of the database.
//
// # Failures
//
// After an error of the disk during a commit, it is unknown which of its writes are on
// the disk, and a later success does not prove that they are. The provider then fails every write,
// and [Provider.Failed] reports that the process has to end.
//
// # One process
//
// A provider locks the file <path>.lock; a second [Open], in this or another
// process, fails with [driver.ErrUnavailable]. The operating system releases the
// lock when the process ends, even after a crash. Because one file can have several
// names, a file with more than one hard link is refused, and on Linux the inode is
// locked as well, which covers bind mounts.
//
// Before a write is acknowledged, and once a second without writes, the provider checks
// that database and write-ahead log are still the files at their paths. If one was
// removed, renamed or replaced, the provider fails as after an error of the disk.
//
// No other code of the process may open the database file: closing it would drop the
// locks that SQLite has on it.
//
// # Refused files
//
// Open refuses some files without changing them: with [driver.ErrInvalid] a file that
// is not a SQLite database, belongs to another application (by SQLite's
// application_id), has a newer schema (user_version), or is missing although <path>.lock
// records a database; with [driver.ErrDamaged] a file that is empty although it had
// content, is shorter than its header says, or fails PRAGMA quick_check. That check
// reads the whole file, so it runs only on files of up to 64 MiB; in a larger file the
// read that meets the damage returns an error. Every entry also has a checksum, which
// reads and [Provider.Verify] compare.
//
// Open also refuses, with [driver.ErrDamaged], a write-ahead log that would lose
// acknowledged commits: one that is missing or empty although <path>.mark says that it
// has commits, or that is damaged before a later transaction. [Options].AcceptLoss opens
// such a database without these commits.
package sqlite
