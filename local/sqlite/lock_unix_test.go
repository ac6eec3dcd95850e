//go:build unix

package sqlite

import (
	"syscall"
	"testing"
)

// A child process inherits the open lock file for a moment, until it executes its own
// program. This must not keep a closed database locked.
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
