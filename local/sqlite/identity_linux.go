package sqlite

import "os"

// lockInode locks the inode of an open file. On Linux the locks of flock are
// independent of the POSIX locks of SQLite.
func lockInode(f *os.File) (locked bool, err error) { return lockFile(f) }

func unlockInode(f *os.File) error { return unlockFile(f) }
