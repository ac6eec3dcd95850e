package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/reventless-go/reventless/driver"
)

// lock is the hold of this process on a database: an operating system's lock on
// the file beside it, which goes with the process. The file stays when it is
// released; removing it would let two processes lock two files of one name.
type lock struct {
	f *os.File
	// created is true when a database was made under this lock at some time, so
	// that an empty one is known to have lost its content.
	created bool
}

const createdMark = "created\n"

// acquire locks path; [driver.ErrUnavailable] when it is locked.
func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	held, err := lockFile(f)
	text, _ := io.ReadAll(io.LimitReader(f, 256)) // it only informs
	if err == nil {
		l := &lock{f: f, created: strings.HasSuffix(string(text), createdMark)}
		if err = l.write(); err == nil {
			return l, nil
		}
	}
	err = errors.Join(err, f.Close())
	if held {
		by, _, _ := strings.Cut(string(text), "\n")
		return nil, fmt.Errorf("it is open already, in this or another process (%s has the lock %s): %w: %w", by, f.Name(), driver.ErrUnavailable, err)
	}
	return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
}

func (l *lock) write() error {
	text := fmt.Sprintf("process %d\n", os.Getpid())
	if l.created {
		text += createdMark
	}
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(text), 0)
	return err
}

// markCreated remembers that the database was made.
func (l *lock) markCreated() error {
	if l.created {
		return nil
	}
	l.created = true
	return l.write()
}

// release gives the lock up. Closing the file alone would not while a child process
// that is just being started has a copy of it.
func (l *lock) release() error { return errors.Join(unlockFile(l.f), l.f.Close()) }
