package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/reventless-go/reventless/driver"
)

// lock gives this process exclusive use of a database. It is an operating system
// lock on a file beside the database, so it ends with the process. Releasing it
// keeps the file: if it were removed, two processes could lock two files of the
// same name.
type lock struct {
	f *os.File
	// created records that a database was created here before, so an empty file
	// means that its content was lost.
	created bool
}

const createdLine = "created\n"

// acquire locks path; it returns [driver.ErrUnavailable] if path is locked.
func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	locked, err := lockFile(f)
	text, _ := io.ReadAll(io.LimitReader(f, 256)) // informational: unreadable is like empty
	if err == nil {
		l := &lock{f: f, created: strings.HasSuffix(string(text), createdLine)}
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
		text += createdLine
	}
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(text), 0)
	return err
}

// markCreated records that the database was created.
func (l *lock) markCreated() error {
	if l.created {
		return nil
	}
	l.created = true
	return l.write()
}

// release unlocks explicitly: closing the file does not release the lock while a
// child process that is being started has a copy of the descriptor.
func (l *lock) release() error { return errors.Join(unlockFile(l.f), l.f.Close()) }
