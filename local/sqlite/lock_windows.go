package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile takes the lock of an open file, for as long as it is open. held is
// true when somebody else has it.
func lockFile(f *os.File) (held bool, err error) {
	// A byte far behind the text: locks are mandatory, and others may read who
	// has it.
	at := &windows.Overlapped{OffsetHigh: 1}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	return errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING), err
}

// unlockFile is nothing: handles are not inherited, and closing the file unlocks it.
func unlockFile(*os.File) error { return nil }

// syncDir is nothing: Windows has no such call, and writes names through.
func syncDir(string) error { return nil }
