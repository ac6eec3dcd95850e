package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	modernc "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. It is used by one
// goroutine at a time.
//
// It works on the driver's connection and not on database/sql: what that adds,
// pooling and conversions, costs as much as a small statement does. The context
// of a call never reaches a statement: the driver would start a goroutine for
// each, and all statements here are short.
type conn struct {
	raw   sqldriver.Conn
	stmts map[string]*stmt
	args  []sqldriver.NamedValue
	// changed counts the rows that statements changed.
	changed int64
}

type stmt struct {
	exec  sqldriver.StmtExecContext
	query sqldriver.StmtQueryContext
	close func() error
	row   []sqldriver.Value
}

// fileURI is path with parameters, as SQLite reads it.
func fileURI(path, parameters string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a drive
	}
	return "file://" + (&url.URL{Path: p}).EscapedPath() + "?" + parameters
}

// connect opens a connection and runs the pragmas on it.
func connect(uri string, pragmas ...string) (*conn, error) {
	connector, err := modernc.NewConnector(uri)
	if err != nil {
		return nil, err
	}
	raw, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{raw: raw, stmts: map[string]*stmt{}}
	for _, p := range pragmas {
		if err := c.script("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("pragma %s: %w", p, err), c.close())
		}
	}
	return c, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.raw.Close())...)
}

// script runs statements that are not worth preparing.
func (c *conn) script(text string) error {
	_, err := c.raw.(sqldriver.ExecerContext).ExecContext(context.Background(), text, nil)
	return err
}

// prepared returns the statement of a text, prepared on first use. The texts
// are constants, or made of few parts, so there are few.
func (c *conn) prepared(text string) (*stmt, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	raw, err := c.raw.Prepare(text)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", text, err)
	}
	s := &stmt{exec: raw.(sqldriver.StmtExecContext), query: raw.(sqldriver.StmtQueryContext), close: raw.Close}
	c.stmts[text] = s
	return s, nil
}

// named puts the arguments into the driver's form, until the next call.
func (c *conn) named(args []any) []sqldriver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, sqldriver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement and returns how many rows it changed, and the last row
// id that an INSERT made. The arguments are int64, float64, string, []byte or nil.
func (c *conn) exec(text string, args ...any) (changed, last int64, err error) {
	s, err := c.prepared(text)
	if err != nil {
		return 0, 0, err
	}
	result, err := s.exec.ExecContext(context.Background(), c.named(args))
	if err != nil {
		return 0, 0, err
	}
	changed, _ = result.RowsAffected() // the driver never fails here
	last, _ = result.LastInsertId()
	c.changed += changed
	return changed, last, nil
}

// control runs a statement that begins or ends something. (SQLite would repeat
// the number of rows that the statement before it changed.)
func (c *conn) control(text string) error {
	s, err := c.prepared(text)
	if err != nil {
		return err
	}
	_, err = s.exec.ExecContext(context.Background(), nil)
	return err
}

// errStop ends a query early.
var errStop = errors.New("stop")

// query calls f for each row of the result, until it returns an error; errStop
// is none. The row is valid during the call. f must not run the same text.
func (c *conn) query(text string, args []any, f func(row []sqldriver.Value) error) (err error) {
	s, err := c.prepared(text)
	if err != nil {
		return err
	}
	rows, err := s.query.QueryContext(context.Background(), c.named(args))
	if err != nil {
		return err
	}
	defer func() {
		// After an error of a step SQLite's reset repeats that error.
		if e := rows.Close(); e != nil && err == nil {
			err = e
		}
	}()
	if s.row == nil {
		s.row = make([]sqldriver.Value, len(rows.Columns()))
	}
	for {
		switch err := rows.Next(s.row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(s.row); errors.Is(err, errStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// first is query for the first row alone; found is false when there is none.
func (c *conn) first(text string, args []any, f func(row []sqldriver.Value) error) (found bool, err error) {
	err = c.query(text, args, func(row []sqldriver.Value) error {
		found = true
		if err := f(row); err != nil {
			return err
		}
		return errStop
	})
	return found, err
}

// integer returns the first column of the first row, 0 for NULL and for no row.
func (c *conn) integer(text string, args ...any) (n int64, err error) {
	_, err = c.first(text, args, func(row []sqldriver.Value) error {
		n = number(row[0])
		return nil
	})
	return n, err
}

// The column helpers return the zero value for NULL. A type that the schema
// rules out cannot be seen: the tables are STRICT.
func number(v sqldriver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func text(v sqldriver.Value) string {
	s, _ := v.(string)
	return s
}

func blob(v sqldriver.Value) []byte {
	b, _ := v.([]byte)
	return b
}

// pool is a bounded set of reading connections, opened as needed. The one that
// was used last is used next: its statements are prepared, its cache is warm.
type pool struct {
	open  func() (*conn, error)
	slots chan struct{} // as many elements as connections may be used yet

	mu   sync.Mutex
	idle []*conn
}

func newPool(size int, open func() (*conn, error)) *pool {
	p := &pool{open: open, slots: make(chan struct{}, size)}
	for range size {
		p.slots <- struct{}{}
	}
	return p
}

// use runs f with a connection.
func (p *pool) use(ctx context.Context, f func(c *conn) error) error {
	select {
	case <-p.slots:
	default:
		select {
		case <-p.slots:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { p.slots <- struct{}{} }()
	c, err := p.get()
	if err != nil {
		return err
	}
	defer p.put(c)
	return f(c)
}

func (p *pool) get() (*conn, error) {
	p.mu.Lock()
	if n := len(p.idle) - 1; n >= 0 {
		c := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.open()
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

// pause runs f while no connection is in use. Those that want one wait.
func (p *pool) pause(f func() error) error {
	for range cap(p.slots) {
		<-p.slots
	}
	defer func() {
		for range cap(p.slots) {
			p.slots <- struct{}{}
		}
	}()
	return f()
}

// close closes all connections; none is in use.
func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}
