package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mark is a file beside the database which exists while the write-ahead log has commits
// that may not be in the database. If the log is missing then, commits are lost: without
// the mark SQLite would open the database without them.
//
// The mark names the inode of the database. A copy of the database has another inode, so
// a mark that was copied with it is ignored. The mark is written durably after the first
// commit and before its acknowledgement, and removed durably before the log is truncated.
type mark struct {
	path string // of the mark
	text string // what it says for this database; empty where there are no inodes
	set  bool   // only the writer uses it
}

// markOf returns the mark of a database.
func markOf(path string, info fs.FileInfo) *mark {
	m := &mark{path: path + ".mark"}
	if device, inode, ok := inodeOf(info); ok {
		m.text = fmt.Sprintf("reventless 1: the write-ahead log of device %d inode %d has commits\n", device, inode)
	}
	return m
}

// read reports whether there is a mark of this database.
func (m *mark) read() (bool, error) {
	text, err := os.ReadFile(m.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	m.set = m.text != "" && string(text) == m.text
	return m.set, nil
}

// write makes the mark durable.
func (m *mark) write() error {
	if m.set || m.text == "" {
		return nil
	}
	// There may be one of another database.
	if err := os.Remove(m.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(m.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(m.text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(m.path)); err != nil {
		return err
	}
	m.set = true
	return nil
}

// clear removes the mark durably. Where it cannot be removed, it is made empty.
func (m *mark) clear() error {
	err := os.Remove(m.path)
	if err == nil {
		err = syncDir(filepath.Dir(m.path))
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	} else if m.empty() == nil {
		err = nil
	}
	if err == nil {
		m.set = false
	}
	return err
}

func (m *mark) empty() error {
	f, err := os.OpenFile(m.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
