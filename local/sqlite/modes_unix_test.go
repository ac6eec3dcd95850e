//go:build unix

package sqlite

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// modes returns the modes of everything below dir that is not private to the user.
func modes(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	found := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			found[strings.TrimPrefix(path, dir+"/")] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Not parallel: the umask belongs to the process.
func TestOtherUsersOfTheMachineCannotReadTheFiles(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	for _, log := range []string{"Test.A", "Test.B"} { // created, and opened again
		p := mustOpen(t, path, nil)
		fillLogOf(t, p, log)
		b := must[driver.Bucket](t)(p.OpenBucket(t.Context(), "Test.Files"))
		if err := b.Put(t.Context(), "folder/file.txt", strings.NewReader("text")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"app.db", "app.db-wal", "app.db-shm", "app.db.lock"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		if open := modes(t, dir); len(open) > 0 {
			t.Errorf("other users have access to %v", open)
		}
		mustClose(t, p)
	}
}

func TestExistingFilesKeepTheirModes(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]func(t *testing.T) []byte{
		"an empty file": func(*testing.T) []byte { return nil },
		"a database":    func(t *testing.T) []byte { return must[[]byte](t)(os.ReadFile(made(t))) },
	} {
		path := filepath.Join(t.TempDir(), "app.db")
		if err := os.WriteFile(path, content(t), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		p := mustOpen(t, path, nil)
		fillLogOf(t, p, "Test.More")
		for _, suffix := range []string{"", "-wal"} {
			if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%s: %s has the mode %v (%v), want 0640 as before", name, filepath.Base(path+suffix), info.Mode().Perm(), err)
			}
		}
	}
}

// fillLogOf appends a commit to a log.
func fillLogOf(t *testing.T, p *Provider, log string) {
	t.Helper()
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), log))
	if err := l.Append(t.Context(), commitOf("s", 1)); err != nil {
		t.Fatal(err)
	}
}
