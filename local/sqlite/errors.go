package sqlite

import (
	"errors"
	"fmt"

	modernc "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/reventless-go/reventless/driver"
)

// classify wraps a SQLite error with its driver error class. It returns other
// errors unchanged.
func classify(err error) error {
	code, ok := resultCode(err)
	if !ok {
		return err
	}
	switch code & 0xff {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_FORMAT:
		return fmt.Errorf("the database is damaged: %w: %w", driver.ErrDamaged, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN,
		lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_PROTOCOL, lib.SQLITE_NOMEM:
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	return err
}

// resultCode returns the extended result code of a SQLite error.
func resultCode(err error) (int, bool) {
	var e *modernc.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Code(), true
}

// damage returns the error for an entry of a table that is damaged, see
// [driver.DamageError].
func damage(table, name, key string, format string, args ...any) error {
	return &driver.DamageError{Table: table, Name: name, Key: short(key), Cause: fmt.Errorf(format, args...)}
}

// checkLimit refuses a limit below 1.
func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("limit %d: %w", limit, driver.ErrInvalid)
	}
	return nil
}
