package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local/sqlite"
)

// benchCommit returns a typical commit of one small event.
func benchCommit(stream string, n uint64) driver.Commit {
	return driver.Commit{
		Stream: stream, SequenceNr: n,
		Events: []driver.Event{{Type: "Renamed", Version: 1, Data: json.RawMessage(`{"name":"` + strings.Repeat("n", 200) + `"}`)}},
		Commands: []driver.AnsweredCommand{{
			Meta: driver.Meta{
				ID: fmt.Sprintf("0192f3a4-%s-%d", stream, n), Service: "Bench.Thing", CorrelationID: "0192f3a4-7b1c-7d2e-8f3a-4b5c6d7e8f90",
				Time: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC), User: "user",
			},
			EventCount: 1,
		}},
	}
}

// bare returns a function that inserts one row of the same size in its own
// transaction, with a prepared statement and the provider's settings.
func bare(b *testing.B) func(i int) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=cache_size(-16384)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	ctx := context.Background()
	c, err := db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if _, err := c.ExecContext(ctx, `CREATE TABLE commits (pos INTEGER PRIMARY KEY, log INTEGER, stream TEXT, seq INTEGER, body TEXT);
		CREATE UNIQUE INDEX stream ON commits (log, stream, seq)`); err != nil {
		b.Fatal(err)
	}
	insert, err := c.PrepareContext(ctx, "INSERT INTO commits (log, stream, seq, body) VALUES (?, ?, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { insert.Close() })
	return func(i int) {
		stream, n := benchPlace(i)
		body, err := driver.EncodeCommit(benchCommit(stream, n))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := insert.ExecContext(ctx, int64(1), stream, int64(n), string(body)); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPlace spreads commit i over 1000 streams.
func benchPlace(i int) (stream string, n uint64) {
	return fmt.Sprintf("entity-%d", i%1000), uint64(i/1000 + 1)
}

func benchLog(b *testing.B) driver.EventLog {
	b.Helper()
	p, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "app.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	l, err := p.OpenEventLog(b.Context(), "Bench.Thing")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// appender returns a function that appends commit i.
func appender(b *testing.B) func(i int) {
	l, ctx := benchLog(b), b.Context()
	return func(i int) {
		if err := l.Append(ctx, benchCommit(benchPlace(i))); err != nil {
			b.Error(err)
		}
	}
}

// measured alternates between the candidates, so that all of them see the same disk,
// and returns the rate of each per second.
func measured(b *testing.B, turn int, candidates ...func(from, to int)) []float64 {
	b.Helper()
	took := make([]time.Duration, len(candidates))
	done := 0
	for done == 0 || done < b.N {
		for i, f := range candidates {
			start := time.Now()
			f(done, done+turn)
			took[i] += time.Since(start)
		}
		done += turn
	}
	rates := make([]float64, len(candidates))
	for i, d := range took {
		rates[i] = float64(done) / d.Seconds()
	}
	return rates
}

func alone(f func(i int)) func(from, to int) {
	return func(from, to int) {
		for i := from; i < to; i++ {
			f(i)
		}
	}
}

// shared runs f in many clients.
func shared(clients int, f func(i int)) func(from, to int) {
	return func(from, to int) {
		var next atomic.Int64
		next.Store(int64(from))
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= to {
						return
					}
					f(i)
				}
			})
		}
		wg.Wait()
	}
}

// BenchmarkAppend1 compares durable appends by one client with a bare loop.
func BenchmarkAppend1(b *testing.B) {
	rates := measured(b, 100, alone(bare(b)), alone(appender(b)))
	b.ReportMetric(rates[1], "appends/s")
	b.ReportMetric(rates[1]/rates[0], "x-of-bare")
}

// BenchmarkAppend64 compares durable appends by 64 clients with those by one.
func BenchmarkAppend64(b *testing.B) {
	rates := measured(b, 2000, alone(bare(b)), alone(appender(b)), shared(64, appender(b)))
	b.ReportMetric(rates[2], "appends/s")
	b.ReportMetric(rates[2]/rates[0], "x-of-bare")
	b.ReportMetric(rates[2]/rates[1], "x-of-one-client")
}

// benchRows opens a read model of n small rows.
func benchRows(b *testing.B, n int) (driver.QueryDb, driver.QueryEngine) {
	b.Helper()
	ctx := b.Context()
	p, err := sqlite.Open(ctx, filepath.Join(b.TempDir(), "app.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	spec := driver.TableSpec{Name: "Bench.Things"}
	db, err := p.OpenQueryDb(ctx, spec)
	if err != nil {
		b.Fatal(err)
	}
	var writes []driver.RowWrite
	for i := range n {
		writes = append(writes, driver.RowWrite{Row: driver.Row{
			Key:  driver.Key{ID: fmt.Sprintf("thing-%06d", i)},
			Data: json.RawMessage(fmt.Sprintf(`{"name":"%s","price":%d.5,"tags":["a","b"],"shop":"s"}`, strings.Repeat("n", 150), i*7919%n)),
		}})
	}
	for part := range slices.Chunk(writes, 500) {
		if err := db.Apply(ctx, driver.Step{Writes: part}); err != nil {
			b.Fatal(err)
		}
	}
	engine, err := p.OpenQueryEngine(ctx, []driver.TableSpec{spec})
	if err != nil {
		b.Fatal(err)
	}
	return db, engine
}

// BenchmarkPointReads reads one row through the store and through the query engine.
func BenchmarkPointReads(b *testing.B) {
	const n = 10_000
	id := func(i int) string { return fmt.Sprintf("thing-%06d", i*7919%n) }
	b.Run("LoadRow", func(b *testing.B) {
		db, _ := benchRows(b, n)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := db.LoadRow(b.Context(), driver.Key{ID: id(i)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Query", func(b *testing.B) {
		_, engine := benchRows(b, n)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if page, err := engine.Query(b.Context(), driver.Query{ReadModel: "Bench.Things", Value: id(i)}); err != nil || len(page.Rows) != 1 {
				b.Fatal(len(page.Rows), err)
			}
		}
	})
}

// BenchmarkScans reads the first page of ten rows out of 10,000.
func BenchmarkScans(b *testing.B) {
	_, engine := benchRows(b, 10_000)
	for name, order := range map[string]*driver.Order{"Unordered": nil, "ByID": {Descending: true}, "ByField": {Field: "price"}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if page, err := engine.Scan(b.Context(), driver.Scan{ReadModel: "Bench.Things", Order: order, Limit: 10}); err != nil || len(page.Rows) != 10 {
					b.Fatal(len(page.Rows), err)
				}
			}
		})
	}
}
