//go:build unix

package sqlite

import (
	"io/fs"
	"syscall"
)

// inodeOf returns the device and the inode of a file.
func inodeOf(info fs.FileInfo) (device, inode uint64, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return uint64(s.Dev), uint64(s.Ino), true //nolint:gosec,unconvert // their types depend on the system
}
