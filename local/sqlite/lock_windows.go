package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks an open file until it is closed. locked is true if another
// process or provider holds the lock.
func lockFile(f *os.File) (locked bool, err error) {
	// Locks are mandatory on Windows. The locked byte lies far beyond the text, so
	// that other processes can read who holds the lock.
	at := &windows.Overlapped{OffsetHigh: 1}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	return errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING), err
}

// unlockFile does nothing: handles are not inherited, so closing the file unlocks it.
func unlockFile(*os.File) error { return nil }

// syncDir does nothing: Windows has no such call and writes directory entries through.
func syncDir(string) error { return nil }
