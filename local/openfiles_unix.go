//go:build unix

package local

import "syscall"

// openFiles returns how many files the process may have open. Go has raised the limit to
// the highest one that is allowed.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 2 * maxConnections
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
