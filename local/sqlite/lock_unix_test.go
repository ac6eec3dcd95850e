//go:build unix

package sqlite

import (
	"syscall"
	"testing"
)

// A child process that is started while a database is closed has a copy of its lock
// file for a moment, until it runs its own program.
func TestAClosedDatabaseIsFreeWhileAChildIsStarted(t *testing.T) {
	t.Parallel()
	path := made(t)
	p := mustOpen(t, path, nil)
	inherited, err := syscall.Dup(int(p.lock.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Close(inherited); err != nil {
			t.Error(err)
		}
	})
	mustClose(t, p)
	mustClose(t, mustOpen(t, path, nil))
}
