package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/local/sqlite"
)

// empty returns the bytes of a new, closed database. Hundreds of fixtures start as a
// copy of it, because creating one is slow under the race detector.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "reventless")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app.db")
	p, err := sqlite.Open(context.Background(), path, nil)
	if err != nil {
		return nil, err
	}
	if err := p.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// fixture opens an empty provider with a clock that can be moved.
func fixture(t *testing.T) *drivertest.Fixture {
	clock := drivertest.NewClock()
	path := filepath.Join(t.TempDir(), "app.db")
	made, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, made, 0o600); err != nil {
		t.Fatal(err)
	}
	var p *sqlite.Provider
	open := func(t *testing.T) driver.PullProvider {
		t.Helper()
		if p != nil {
			if err := p.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
		opened, err := sqlite.Open(t.Context(), path, &sqlite.Options{Now: clock.Now})
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		p = opened
		return p
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	damage := func(t *testing.T, log, stream string, sequenceNr uint64) driver.PullProvider {
		t.Helper()
		if err := p.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		alter(t, path, `UPDATE commits SET events = replace(events, '"by"', '"my"')
			WHERE log = (SELECT id FROM names WHERE kind = 'log' AND name = ?) AND stream = ? AND seq = ?`, log, stream, int64(sequenceNr))
		return open(t)
	}
	return &drivertest.Fixture{Provider: open(t), Now: clock.Now, Advance: clock.Advance, Reopen: open, DamageCommit: damage}
}

// alter changes one row of a closed database behind the provider's back.
func alter(t *testing.T, path, statement string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	result, err := db.ExecContext(t.Context(), statement, args...)
	if err == nil {
		var n int64
		if n, err = result.RowsAffected(); err == nil && n != 1 {
			err = fmt.Errorf("%d rows changed", n)
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestProvider(t *testing.T) { drivertest.TestProvider(t, fixture) }

func BenchmarkEventLog(b *testing.B) {
	drivertest.BenchEventLog(b, func(b *testing.B) driver.Provider {
		p, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "app.db"), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := p.Close(); err != nil {
				b.Error(err)
			}
		})
		return p
	})
}
