package sqlite

import (
	sqldriver "database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/reventless-go/reventless/driver"
)

// maxChecked is the size up to which Open reads a whole file to check it.
const maxChecked = 64 << 20

// inspect reports whether there is a database at path, without changing it. A
// foreign file is a [driver.ErrInvalid], a damaged one a [driver.ErrDamaged], with the
// reason. The caller holds the lock. known says whether a database existed before; a file larger
// than check is not read as a whole.
func inspect(path string, known bool, check int64) (exists bool, err error) {
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	var size int64
	if err == nil {
		if !info.Mode().IsRegular() {
			return false, fmt.Errorf("not a file: %w", driver.ErrInvalid)
		}
		size = info.Size()
	}
	var log int64 // size of the write-ahead log
	if info, err := os.Stat(path + "-wal"); err == nil {
		log = info.Size()
	}
	if size == 0 {
		switch {
		case log > 0:
			return false, fmt.Errorf("the database is missing, only its write-ahead log exists: %w", driver.ErrDamaged)
		case info != nil && known:
			return false, fmt.Errorf("the database was truncated to an empty file: %w", driver.ErrDamaged)
		case known:
			return false, fmt.Errorf("the database is missing, although %s.lock says that it was created here. Restore it, or remove that file to begin with an empty database: %w", path, driver.ErrInvalid)
		}
		return false, nil
	}
	if err := inspectHeader(path, size, log); err != nil {
		return true, err
	}
	if err := inspectContent(path, log, size+log <= check); err != nil {
		return true, classify(err)
	}
	return true, nil
}

// inspectHeader checks the database header. It skips checks that are not reliable while
// the write-ahead log, of log bytes, is not empty.
func inspectHeader(path string, size, log int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is only read
	refuse := func(class error, format string, args ...any) error {
		return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), class)
	}
	const magic = "SQLite format 3\x00"
	var h [100]byte
	if n, err := io.ReadFull(f, h[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if string(h[:min(n, 16)]) != magic[:min(n, 16)] {
			return refuse(driver.ErrInvalid, "not a SQLite database")
		}
		return refuse(driver.ErrDamaged, "the database is truncated to %d bytes", size)
	} else if err != nil {
		return err
	}
	if string(h[:16]) != magic {
		return refuse(driver.ErrInvalid, "not a SQLite database")
	}
	if id := binary.BigEndian.Uint32(h[68:]); id != applicationID {
		return refuse(driver.ErrInvalid, "a SQLite database of another application (application_id %#x, want %#x)", id, applicationID)
	}
	if reason := unreadable(int64(binary.BigEndian.Uint32(h[60:])), len(migrations)); reason != "" {
		return refuse(driver.ErrInvalid, "%s", reason)
	}
	page := int64(binary.BigEndian.Uint16(h[16:]))
	if page == 1 {
		page = 1 << 16
	}
	if page < 512 || page&(page-1) != 0 {
		return refuse(driver.ErrDamaged, "the header is damaged: page size %d", page)
	}
	// While there is a log, the file may be shorter: the missing pages are in the log.
	pages := int64(binary.BigEndian.Uint32(h[28:]))
	if log == 0 && (size%page != 0 || size/page < pages) {
		return refuse(driver.ErrDamaged, "the database is truncated: it has %d bytes, its header says %d pages of %d", size, pages, page)
	}
	return nil
}

// inspectContent checks the database through a read-only connection: always its
// version and schema, and with whole its pages too.
func inspectContent(path string, log int64, whole bool) error {
	mode := "mode=ro"
	if log == 0 {
		mode += "&immutable=1" // keeps SQLite from creating files beside it
	}
	c, err := connect(fileURI(path, mode), "query_only=1", "cell_size_check=1")
	if err != nil {
		return err
	}
	err = func() error {
		version, err := c.integer("PRAGMA user_version")
		if err != nil {
			return err
		}
		if reason := unreadable(version, len(migrations)); reason != "" {
			return fmt.Errorf("%s: %w", reason, driver.ErrInvalid)
		}
		if id, err := c.integer("PRAGMA application_id"); err != nil {
			return err
		} else if id != applicationID {
			return fmt.Errorf("application_id is %#x, want %#x: %w", id, applicationID, driver.ErrInvalid)
		}
		// Counting tables and indexes reads the whole schema.
		if _, err := c.integer("SELECT count(*) FROM sqlite_schema"); err != nil {
			return err
		}
		if !whole {
			return nil
		}
		var result string
		err = c.query("PRAGMA quick_check(1)", nil, func(row []sqldriver.Value) error {
			result = text(row[0])
			return errStop
		})
		if err == nil && result != "ok" {
			err = fmt.Errorf("the database is damaged, quick_check reports %q: %w", result, driver.ErrDamaged)
		}
		return err
	}()
	return errors.Join(err, c.close())
}
