package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// checkEvery is how often a provider that writes nothing checks the identity of its file.
const checkEvery = time.Second

// identity is the database file that a provider has opened. The lock file is found by
// its name, so it does not protect a file that has two names. The inode is locked too,
// with a descriptor of its own.
//
// Closing any descriptor of the database drops all POSIX locks that SQLite has on it
// in this process. So this one is opened before SQLite opens the file, and closed after
// SQLite has closed it, and no other one may be closed meanwhile.
type identity struct {
	path    string
	f       *os.File
	db, wal fs.FileInfo
}

// identities are the files that providers of this process have open.
var identities struct {
	sync.Mutex
	held map[*identity]bool
}

// hold locks the file at path. It returns nil if there is nothing to lock: no file, an
// empty one, which will be replaced, or a directory.
func hold(path string) (*identity, error) {
	identities.Lock()
	defer identities.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is nothing to lock
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, nil //nolint:nilnil // there is nothing to lock
	}
	if n := links(info); n != 1 {
		return nil, fmt.Errorf("the file has %d names (hard links): with one write-ahead log for each name, the data would be damaged. Remove the other names, or copy the file: %w", n, driver.ErrInvalid)
	}
	for i := range identities.held {
		if os.SameFile(i.db, info) {
			return nil, fmt.Errorf("the database is open already in this process, as %s: %w", i.path, driver.ErrUnavailable)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		var locked bool
		if locked, err = lockInode(f); locked {
			err = fmt.Errorf("the database is open already in another process, which found it under another name: %w", driver.ErrUnavailable)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	i := &identity{path: path, f: f, db: info}
	if identities.held == nil {
		identities.held = map[*identity]bool{}
	}
	identities.held[i] = true
	return i, nil
}

// opened records the write-ahead log, which SQLite has created, and checks that SQLite
// has opened the file that is locked.
func (i *identity) opened() (err error) {
	if i.wal, err = os.Stat(i.path + "-wal"); err != nil {
		return err
	}
	return i.check()
}

// check returns an error if the files are no longer those at their paths: a write
// would be lost, or would change a file that is now a backup.
func (i *identity) check() error {
	for _, file := range []struct {
		what, path string
		info       fs.FileInfo
	}{{"the database", i.path, i.db}, {"the write-ahead log", i.path + "-wal", i.wal}} {
		switch now, err := os.Stat(file.path); {
		case err != nil && absent(err):
			return fmt.Errorf("%s was removed or renamed while it was open: %s is missing: %w", file.what, file.path, driver.ErrUnavailable)
		case err == nil && !os.SameFile(now, file.info):
			return fmt.Errorf("%s was replaced while it was open: another file is at %s: %w", file.what, file.path, driver.ErrUnavailable)
		}
		// Other errors say nothing about the file.
	}
	return nil
}

// release unlocks the file. SQLite must have closed it.
func (i *identity) release() error {
	if i == nil {
		return nil
	}
	identities.Lock()
	defer identities.Unlock()
	delete(identities.held, i)
	return errors.Join(unlockInode(i.f), i.f.Close())
}
