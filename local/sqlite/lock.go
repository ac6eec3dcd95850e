package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/reventless-go/reventless/driver"
)

// lock gives this process exclusive use of a database. It is an operating system
// lock on a file beside the database, so it ends with the process. Releasing it
// keeps the file: if it were removed, two processes could lock two files of the
// same name.
type lock struct {
	f *os.File
	// created records that a database was created here before, so a missing or empty
	// file means that its content was lost.
	created bool
}

const createdLine = "\ncreated\n"

// acquire locks path; it returns [driver.ErrUnavailable] if path is locked.
func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	locked, err := lockFile(f)
	text, _ := io.ReadAll(io.LimitReader(f, 256)) // informational: unreadable is like empty
	if err == nil {
		l := &lock{f: f, created: strings.Contains(string(text), createdLine)}
		if err = l.write(); err == nil {
			return l, nil
		}
	}
	err = errors.Join(err, f.Close())
	if locked {
		owner, _, _ := strings.Cut(string(text), "\n")
		return nil, fmt.Errorf("the database is open already, in this or another process (%s holds the lock %s): %w: %w", owner, f.Name(), driver.ErrUnavailable, err)
	}
	return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
}

func (l *lock) write() error {
	text := fmt.Sprintf("process %d\n", os.Getpid())
	if l.created {
		text = strings.TrimSuffix(text, "\n") + createdLine
	}
	// In this order, so that a crash does not lose the second line.
	if _, err := l.f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return l.f.Truncate(int64(len(text)))
}

// markCreated records durably that the database was created.
func (l *lock) markCreated() error {
	if l.created {
		return nil
	}
	l.created = true
	err := l.write()
	if err == nil {
		err = l.f.Sync()
	}
	if err == nil {
		err = syncDir(filepath.Dir(l.f.Name()))
	}
	return err
}

// release unlocks explicitly: closing the file does not release the lock while a
// child process that is being started has a copy of the descriptor.
func (l *lock) release() error { return errors.Join(unlockFile(l.f), l.f.Close()) }
