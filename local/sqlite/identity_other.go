//go:build !linux

package sqlite

import "os"

// lockInode does nothing: on these systems a lock would also keep SQLite out.
func lockInode(*os.File) (locked bool, err error) { return false, nil }

func unlockInode(*os.File) error { return nil }
