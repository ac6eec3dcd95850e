package sqlite

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/reventless-go/reventless/driver"
)

// Before, a server whose file was removed went on to acknowledge commands, and the next
// start began with an empty database.
func TestNothingIsAcknowledgedOnceTheFileIsAnother(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(t *testing.T, path string)
		finding string
	}{
		"removed":                     {func(t *testing.T, path string) { remove(t, path) }, "the database was removed or renamed"},
		"renamed":                     {func(t *testing.T, path string) { rename(t, path, path+".old") }, "the database was removed or renamed"},
		"replaced":                    {func(t *testing.T, path string) { rename(t, made(t), path) }, "the database was replaced"},
		"the write-ahead log removed": {func(t *testing.T, path string) { remove(t, path+"-wal") }, "the write-ahead log was removed"},
	} {
		for _, busy := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				path := made(t)
				p, err := Open(t.Context(), path, nil)
				if err != nil {
					t.Fatal(err)
				}
				fillLogOf(t, p, "Test.More")
				if err := p.Failure(); err != nil {
					t.Fatal(err)
				}
				test.change(t, path)
				before := content(t, filepath.Dir(path))
				if busy {
					err = p.write(t.Context(), insertName("n"))
					if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), test.finding) {
						t.Errorf("%s: a write returned %v, want an ErrUnavailable with %q", name, err, test.finding)
					}
				}
				<-p.Failed().Done() // an idle provider notices it too
				if err := p.Failure(); err == nil || !strings.Contains(err.Error(), test.finding) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: the failure is %v, want the path and %q", name, err, test.finding)
				}
				if err := p.Close(); err == nil {
					t.Errorf("%s: Close returned no error", name)
				}
				after := content(t, filepath.Dir(path))
				for _, suffix := range []string{"-shm", "-wal"} { // a write that was not acknowledged is in them
					if busy {
						delete(before, "app.db"+suffix)
						delete(after, "app.db"+suffix)
					}
				}
				if !maps.Equal(before, after) {
					t.Errorf("%s: Close has changed the files: %v before, %v after", name, sizes(before), sizes(after))
				}
			})
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestMissingDatabaseIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	path := made(t)
	mustClose(t, mustOpen(t, path, nil))
	remove(t, path)
	for range 2 {
		_, err := Open(t.Context(), path, nil)
		if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "the database is missing") || !strings.Contains(err.Error(), path+".lock") {
			t.Errorf("got %v, want an ErrInvalid that names the lock file", err)
		}
	}
	remove(t, path+".lock") // the way out
	mustClose(t, mustOpen(t, path, nil))
}
