package sqlite

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// Two programs that find one file under two names have a write-ahead log each.
func TestFileWithTwoNamesIsRefused(t *testing.T) {
	t.Parallel()
	path := made(t)
	other := filepath.Join(t.TempDir(), "other.db")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, other} {
		if _, err := Open(t.Context(), name, nil); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "2 names") || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an ErrInvalid that says 2 names", err)
		}
	}
	remove(t, other)
	mustClose(t, mustOpen(t, path, nil))
}

// A mount of a single file, as of a container, has one inode and one link.
func TestFileThatIsMountedTwiceHasOneProcess(t *testing.T) {
	t.Parallel()
	path := made(t)
	mounted := filepath.Join(t.TempDir(), "mounted.db")
	if err := os.WriteFile(mounted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(path, mounted, "", syscall.MS_BIND, ""); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("only a user who may mount can run this test")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mounted, 0); err != nil {
			t.Error(err)
		}
	})
	refused := func(where string) {
		t.Helper()
		if _, err := Open(t.Context(), mounted, nil); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), "open already") {
			t.Errorf("open in %s: got %v, want an ErrUnavailable", where, err)
		}
	}
	other := start(t, "hold", path)
	other.line(t)
	refused("another process")
	other.kill()

	p := mustOpen(t, path, nil)
	refused("this process")
	fillLogOf(t, p, "Test.More")
	mustClose(t, p)
	mustClose(t, mustOpen(t, mounted, nil))
}

// Closing a descriptor of the database drops the locks that keep other programs out.
func TestRefusedOpenKeepsTheLocksOfSQLite(t *testing.T) {
	t.Parallel()
	path := made(t)
	p := mustOpen(t, path, nil)
	fillLogOf(t, p, "Test.More")
	locks := func() string {
		all := map[string]bool{} // the kernel may list one twice
		for l := range strings.Lines(string(must[[]byte](t)(os.ReadFile("/proc/locks")))) {
			inode := must[os.FileInfo](t)(os.Stat(path)).Sys().(*syscall.Stat_t).Ino
			if strings.Contains(l, ":"+strconv.FormatUint(inode, 10)+" ") {
				_, l, _ = strings.Cut(l, ":") // without its number
				all[l] = true
			}
		}
		return strings.Join(slices.Sorted(maps.Keys(all)), "")
	}
	before := locks()
	if !strings.Contains(before, "POSIX") || !strings.Contains(before, "FLOCK") {
		t.Fatalf("the locks of the database are %q, want one of each kind", before)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link} {
		if _, err := Open(t.Context(), name, nil); err == nil {
			t.Errorf("%s was opened twice", name)
		}
	}
	if after := locks(); after != before {
		t.Errorf("the locks were %q and are %q", before, after)
	}
}
